import KeelBridge
import KeelCore
import KeelModel
import KeelTensor
import KeelText

/// The frozen models behind the entries of `rewards`: one per folder and type, whoever names it.
final class RewardModels {
    /// A loaded folder.
    final class Loaded {
        let model: Model
        let tokenizer: Tokenizer
        /// The bytes of its tokenizer.json.
        let tokenizerHash: String

        init(_ path: String, dtype: DType, device: Device) throws {
            model = try Model.load(
                directory: path, dtype: dtype, device: device, hasMaster: { _ in false })
            tokenizer = try Tokenizer.load(directory: path)
            tokenizerHash = try RewardModels.tokenizerHash(path)
        }
    }

    private let device: Device
    private var loaded: [String: Loaded] = [:]

    init(device: Device) {
        self.device = device
    }

    /// The model in a folder, loaded at the first call.
    ///
    /// - Parameter place: the config's key, which errors name beside the file.
    func load(_ path: String, _ dtype: DTypeChoice, place: String) throws -> Loaded {
        let key = "\(dtype.rawValue) \(Files.absolute(path))"
        if let known = loaded[key] { return known }
        return try RewardModels.at(place) {
            let made = try Loaded(path, dtype: dtype == .bf16 ? .bf16 : .f32, device: device)
            loaded[key] = made
            return made
        }
    }

    /// What an entry's `model` or `judge` adds to its rows; nil where it names none.
    ///
    /// - Parameter place: where a key of the entry stands.
    func source(
        of reward: RewardConfig, seed: UInt64, policyTokenizer: String?, place: (String) -> String
    ) throws -> (any RewardSource)? {
        if let model = reward.model {
            return try RewardModelSource(
                model, self, policyTokenizer: policyTokenizer, place: place("model.path"))
        }
        return try reward.judge.map {
            try JudgeSource($0, self, seed: seed, place: place("judge.path"))
        }
    }

    /// How many folders are loaded.
    var count: Int { loaded.count }

    /// Two folders with the same hash cut texts into the same ids.
    static func tokenizerHash(_ path: String) throws -> String {
        try SHA256.hex(file: Files.join(path, "tokenizer.json"))
    }

    /// Runs a check or a load; its errors also name the key that asked for it.
    static func at<T>(_ place: String, _ body: () throws -> T) throws -> T {
        do {
            return try body()
        } catch var error as KeelError {
            error.at = error.at.map { "\(place): \($0)" } ?? place
            throw error
        }
    }

    /// Something that a plugin and the models of its entry do not have in common.
    struct Problem {
        var what: String
        /// `model` or `judge`.
        var key: String
        /// The plugin wants one and there is none; else the other way round.
        var isMissing: Bool
    }

    /// A plugin that reads a model's scores, or asks a judge, has one; no other does.
    static func problems(_ component: Component, _ reward: RewardConfig) -> [Problem] {
        let title = component.title
        let wantsScores = component.needs.contains("model_scores")
        let takesScores = wantsScores || component.needs.contains("model_scores?")
        let asks = component.hasCallback("ask")
        var found: [Problem] = []
        if wantsScores, reward.model == nil {
            found.append(
                Problem(
                    what: "\(title) reads the scores of a reward model, but none is named",
                    key: "model", isMissing: true))
        }
        if asks, reward.judge == nil {
            found.append(
                Problem(
                    what: "\(title) asks a judge, but none is named", key: "judge", isMissing: true)
            )
        }
        if !takesScores, reward.model != nil {
            found.append(
                Problem(
                    what: "\(title) does not read the scores of a model", key: "model",
                    isMissing: false))
        }
        if !asks, reward.judge != nil {
            found.append(
                Problem(what: "\(title) does not ask a judge", key: "judge", isMissing: false))
        }
        return found
    }

    /// Refuses what is no folder of a reward model, or of a language model, before anything is loaded.
    static func check(_ path: String, isJudge: Bool, place: String) throws {
        try at(place) {
            let folder = try ModelDirectory(path)
            guard Files.exists(Files.join(path, "tokenizer.json")) else {
                throw KeelError(
                    "model", "the folder has no tokenizer.json", at: path,
                    fix: "copy the tokenizer of the base model into it", code: .noInput)
            }
            if isJudge, !folder.architecture.hasLanguageHead {
                throw KeelError(
                    "model", "a reward model cannot answer questions", at: path,
                    fix: "name a language model, or use the reward \"model\"", code: .badData)
            }
            if !isJudge, folder.architecture.score == nil {
                throw KeelError(
                    "model", "a language model gives no scores", at: path,
                    fix:
                        "name a reward model (*ForSequenceClassification with one label), or use the reward \"judge\"",
                    code: .badData)
            }
        }
    }
}

/// What an entry's model adds to the rows before its plugin sees them.
protocol RewardSource {
    /// Fills `modelScore` or `reply`.
    ///
    /// - Returns: metrics, prefixed by the reward's name.
    func fill(
        _ rows: inout [RewardRow], for runner: any RewardRunner, context: CallContext
    ) throws -> MetricSums
}

/// A reward whose rows get a model's scores or a judge's replies first, wherever its plugin runs.
///
/// The model works when the scores are collected, over all rows at once, on the thread of the tensors.
final class ModelBackedReward: RewardRunner {
    let inner: any RewardRunner
    let source: any RewardSource
    private var waiting: [RewardRow] = []
    private var context = CallContext()
    private var metrics = MetricSums()

    init(_ inner: any RewardRunner, _ source: any RewardSource) {
        self.inner = inner
        self.source = source
    }

    var name: String { inner.name }
    var component: Component { inner.component }
    var columns: [String: Column] { inner.columns }

    func ask(_ rows: [RewardRow], context: CallContext) throws -> [[UInt8]?] {
        try inner.ask(rows, context: context)
    }

    func submit(_ rows: [RewardRow], context: CallContext) throws {
        waiting += rows
        self.context = context
    }

    func collect() throws -> [RewardScore] {
        var rows = waiting
        waiting = []
        metrics.merge(try source.fill(&rows, for: inner, context: context))
        try inner.submit(rows, context: context)
        return try inner.collect()
    }

    func takeMetrics() -> MetricSums {
        defer { metrics = MetricSums() }
        metrics.merge(inner.takeMetrics())
        return metrics
    }

    func takeReport() -> RewardReport { inner.takeReport() }
    func save() throws -> Instance.State? { try inner.save() }
    func load(_ state: Instance.State) throws { try inner.load(state) }
}

/// `rewards[].model`: the score of prompt and response, read at their last token.
///
/// A model with the policy's tokenizer takes the ids as they were sampled; for any other, and for rows that are only text,
/// prompt and response are cut into ids as one text, with EOS behind a response that ended by itself.
struct RewardModelSource: RewardSource {
    let loaded: RewardModels.Loaded
    /// Whether the ids of the rows are this model's.
    let sharesTokenizer: Bool
    let maxLength: Int

    init(
        _ config: RewardModelConfig, _ models: RewardModels, policyTokenizer: String?, place: String
    )
        throws
    {
        loaded = try models.load(config.path, config.dtype, place: place)
        sharesTokenizer = loaded.tokenizerHash == policyTokenizer
        let context = loaded.model.architecture.contextLength
        maxLength = min(config.maxLength ?? context, context)
    }

    func fill(
        _ rows: inout [RewardRow], for runner: any RewardRunner, context: CallContext
    ) throws
        -> MetricSums
    {
        var metrics = MetricSums()
        var texts: [[Int32]] = []
        var numbers: [Int] = []
        for (number, row) in rows.enumerated() {
            var ids = try self.ids(row)
            metrics.add("\(runner.name)/truncated", ids.count > maxLength ? 1 : 0, .mean)
            ids = tail(ids)
            if ids.isEmpty { continue }
            texts.append(ids)
            numbers.append(number)
        }
        for (number, score) in zip(numbers, try loaded.model.scores(texts)) {
            rows[number].modelScore = Double(score)
        }
        for number in rows.indices where rows[number].modelScore == nil {
            rows[number].modelScore = .nan
        }
        return metrics
    }

    /// The ids of prompt and response.
    func ids(_ row: RewardRow) throws -> [Int32] {
        if sharesTokenizer, !row.promptTokens.isEmpty { return row.promptTokens + row.tokens }
        let text = String(decoding: row.prompt + row.response, as: UTF8.self)
        var ids = try loaded.tokenizer.ids(text)
        guard let eos = loaded.tokenizer.eosID else { return ids }
        if row.isFinished {
            if ids.last != eos { ids.append(eos) }
        } else if ids.count > 1, ids.last == eos {
            ids.removeLast()
        }
        return ids
    }

    /// The last `maxLength` ids; a BOS stays in front.
    private func tail(_ ids: [Int32]) -> [Int32] {
        guard ids.count > maxLength else { return ids }
        guard let bos = loaded.tokenizer.bosID, ids.first == bos, maxLength > 1 else {
            return Array(ids.suffix(maxLength))
        }
        return [bos] + ids.suffix(maxLength - 1)
    }
}

/// `rewards[].judge`: the plugin's question about each row, answered by a language model.
struct JudgeSource: RewardSource {
    let loaded: RewardModels.Loaded
    let config: JudgeConfig
    let seed: UInt64
    private let reader: PromptReader

    init(_ config: JudgeConfig, _ models: RewardModels, seed: UInt64, place: String) throws {
        let loaded = try models.load(config.path, config.dtype, place: place)
        self.loaded = loaded
        self.config = config
        self.seed = seed
        reader = try RewardModels.at(place) {
            let isChat = try config.chat ?? (ChatTemplate.source(directory: config.path) != nil)
            return try PromptReader(
                directory: config.path, tokenizer: loaded.tokenizer, startID: nil, isChat: isChat,
                place: "judge.chat")
        }
    }

    func fill(
        _ rows: inout [RewardRow], for runner: any RewardRunner, context: CallContext
    ) throws
        -> MetricSums
    {
        var metrics = MetricSums()
        let questions = try runner.ask(rows, context: context)
        let room = loaded.model.architecture.contextLength - config.maxNewTokens
        var requests: [GenerationRequest] = []
        var numbers: [Int] = []
        for (number, question) in questions.enumerated() {
            guard let question else { continue }
            let text = String(decoding: question, as: UTF8.self)
            let place = "the question about row \(rows[number].id)"
            let ids = text.isEmpty ? [] : try reader.read(text, place: place).ids
            let fits = ids.count <= room && !ids.isEmpty
            metrics.add("\(runner.name)/too_long", fits ? 0 : 1, .mean)
            guard fits else { continue }
            // Row and question decide the draws, not the order in which completions came.
            let draws = RandomStream(seed: seed, place: "judge \(text)", rows[number].id)
            requests.append(GenerationRequest(prompt: ids, rowID: draws.bits(0)))
            numbers.append(number)
        }
        var settings = GenerationSettings(
            maxNewTokens: config.maxNewTokens, eosIDs: loaded.model.endIDs(loaded.tokenizer))
        settings.temperature = config.temperature > 0 ? config.temperature : 1
        settings.seed = seed
        settings.place = "judge/\(runner.name)"
        settings.step = UInt64(max(0, context.step))
        let sampler = config.temperature > 0 ? nil : ArgmaxSampling()
        let stops = StopStrings(config.stop, loaded.tokenizer)
        let replies = try Generator(
            loaded.model, settings, sampler: sampler, ending: stops.isEmpty ? nil : stops
        ).run(requests)
        for (number, reply) in zip(numbers, replies) {
            guard let reply else { continue }
            let text = try StopStrings.text(of: reply, loaded.tokenizer)
            rows[number].reply = Array(text.utf8)
        }
        return metrics
    }
}
