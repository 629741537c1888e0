import Glibc
import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor
import KeelText

/// Everything that a config names, loaded and checked: what `train` runs and `check` rehearses.
final class RunSetup {
    let config: RunConfig
    let plugins: RunPlugins
    let device: Device
    let tokenizer: Tokenizer
    let model: Model
    let optimizer: AdamW
    let loop: any TrainingLoop
    let objective: ObjectiveInstance
    let communicator: any Communicator = SingleRank()
    let totalSteps: Int
    let schedule: Schedule
    /// What was done to the data, for the log and the manifest.
    let notes: [String]
    /// Name -> SHA-256 of the data files.
    let dataHashes: [(String, String)]
    let isOnline: Bool
    /// Where the run writes what it did when.
    let trace: Trace?

    /// - Parameters:
    ///   - weights: the folder to load the policy from: the config's model, or a checkpoint.
    ///   - trace: gets what the run does when.
    /// - Throws: `KeelError` or `KeelErrors`, before anything is written.
    init(
        config: RunConfig, plugins: RunPlugins, catalog: PluginCatalog, weights: String? = nil,
        trace: Trace? = nil
    ) throws {
        self.config = config
        self.trace = trace
        self.plugins = plugins
        let threads = config.train.threads ?? max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
        device = Device.cpu(threads: threads)
        let tokenizer = try Tokenizer.load(directory: config.model.path)
        self.tokenizer = tokenizer
        let dtype: DType = config.model.dtype == .bf16 ? .bf16 : .f32
        let seed = UInt64(config.train.seed)

        // Data first: it is the likeliest to be wrong, and cheap to read.
        let dataKind = plugins.objective.component.data ?? "text"
        isOnline = dataKind == "rollouts"
        let wanted = try RunSetup.rowKind(dataKind, plugins.objective.component)
        let limits = LengthLimits(
            maxLength: config.data.maxLength, maxPromptLength: config.data.maxPromptLength,
            maxCompletionLength: isOnline ? nil : config.data.maxCompletionLength)
        let cache = Files.userFolder("XDG_CACHE_HOME", ".cache")
        var notes: [String] = []
        var hashes: [(String, String)] = []
        func load(_ path: String, _ name: String) throws -> (Dataset, TokenizedDataset) {
            let rows = try Dataset.load(path: path, wanted: wanted, columns: config.data.renames)
            let tokens = try TokenizedDataset.tokenize(
                rows, tokenizer: tokenizer, limits: limits, cacheDirectory: cache)
            notes += (rows.notes + tokens.notes).map { "data.\(name): \($0)" }
            hashes.append((name, rows.contentHash))
            guard !tokens.rows.isEmpty else {
                throw KeelError(
                    "data", "no row is left after tokenising (\(tokens.dropped) dropped)", at: path,
                    fix: "raise data.max_length, or look at the rows", code: .badData)
            }
            return (rows, tokens)
        }
        let (trainRows, train) = try load(config.data.train, "train")
        let valid = try config.data.valid.map { try load($0, "valid") }
        dataHashes = hashes

        objective = try ObjectiveInstance(
            plugins.objective.component, catalog: catalog, parameters: plugins.objective.parameters,
            seed: seed,
            device: device)
        let needs = objective.needs()
        try RunSetup.check(needs, isOnline: isOnline, config)
        try RunSetup.refuseUnsupported(plugins.objective.component, config)
        let model = try Model.load(
            directory: weights ?? config.model.path, dtype: dtype, device: device)
        self.model = model
        try RunSetup.check(train, of: trainRows, fits: model, room: isOnline ? 1 : 0)
        if let valid {
            try RunSetup.check(valid.1, of: valid.0, fits: model, room: isOnline ? 1 : 0)
        }
        optimizer = AdamW(
            model.parameters, beta1: config.train.adamBeta1, beta2: config.train.adamBeta2,
            eps: config.train.adamEpsilon, weightDecay: config.train.weightDecay)

        let temperature = config.sampler.temperature
        let scorer = SequenceScorer(model: model, temperature: temperature)
        let reference = try RunSetup.reference(
            config, needs: needs, temperature: temperature, dtype: dtype, device: device,
            cache: cache, isOnline: isOnline)
        let reduction =
            try config.objective.reduction.map { try Reduction(named: $0.rawValue) }
            ?? objective.reduction()
        let update = PolicyUpdate(
            scorer: scorer, optimizer: optimizer, objective: objective, reduction: reduction,
            reductionConstant: config.objective.reduction == .constant
                ? config.objective.reductionConstant : nil,
            prefixes: Sides.prefixes(dataKind: dataKind),
            microBatchRows: config.train.perDeviceTrainBatchSize,
            maxGradNorm: config.train.maxGradNorm > 0 ? config.train.maxGradNorm : nil,
            communicator: communicator,
            facts: [
                "vocab_size": Double(model.vocabularySize),
                "eos_token_id": model.eosIDs.first.map(Double.init) ?? .nan,
                "pad_token_id": tokenizer.padID.map(Double.init) ?? .nan,
                "temperature": config.sampler.temperature,
                "max_completion_length": Double(config.data.maxCompletionLength ?? 512),
                "num_generations": Double(config.train.numGenerations),
            ])
        let order = try DataSamplerInstance(
            plugins.order.component, catalog: catalog, parameters: plugins.order.parameters,
            seed: seed)
        let sampling = Sampling(
            model: model, tokenizer: tokenizer,
            sampler: try TokenSamplerInstance(
                plugins.sampler.component, catalog: catalog, parameters: plugins.sampler.parameters,
                seed: seed),
            temperature: config.sampler.temperature,
            maxNewTokens: config.data.maxCompletionLength ?? 512,
            seed: seed)

        if isOnline {
            let maker = RolloutMaker(
                sampling: sampling,
                rewards: try RewardSet(
                    config, plugins.rewards, catalog: catalog, seed: seed,
                    models: .init(device: device, policy: config.model.path)),
                reference: reference,
                samplesPerPrompt: config.train.numGenerations, trace: trace)
            let prompts = { (rows: Dataset, tokens: TokenizedDataset) in
                tokens.rows.map {
                    Prompt(row: $0.index, tokens: $0.prompt, json: rows.row($0.index))
                }
            }
            loop = OnlineLoop(
                prompts: prompts(trainRows, train), valid: valid.map { prompts($0.0, $0.1) } ?? [],
                maker: maker,
                update: update, sampler: order, config: config)
        } else {
            loop = OfflineLoop(
                rows: train.rows, valid: valid?.1.rows ?? [], rawRow: { trainRows.row($0) },
                rawValidRow: { valid?.0.row($0) ?? .null }, update: update, reference: reference,
                sampler: order,
                sampling: dataKind == "text" && trainRows.kind == .text ? nil : sampling,
                config: config)
        }
        totalSteps =
            config.train.maxSteps > 0
            ? config.train.maxSteps
            : max(1, Int((config.train.numTrainEpochs * Double(loop.stepsPerEpoch)).rounded(.up)))
        let warmup =
            config.train.warmupSteps > 0
            ? config.train.warmupSteps
            : Int((config.train.warmupRatio * Double(totalSteps)).rounded(.up))
        schedule = Schedule(
            kind: Schedule.Kind(rawValue: config.train.lrSchedulerType.rawValue) ?? .linear,
            peak: config.train.learningRate, warmupSteps: warmup, totalSteps: totalSteps)
        self.notes = notes
    }

    private static func rowKind(_ dataKind: String, _ component: Component) throws -> RowKind {
        switch dataKind {
        case "text": return .text
        case "pairs": return .preference
        case "rollouts": return .prompt
        default:
            throw KeelError(
                "plugin", "objective \"\(component.name)\" takes data of kind \"\(dataKind)\"",
                at: component.path,
                fix: "this Keel trains on text, pairs and rollouts", code: .unavailable)
        }
    }

    /// Rows that the model cannot take are refused before the run, not in its middle.
    ///
    /// - Parameter room: tokens that must fit behind a row: an answer's first.
    private static func check(
        _ data: TokenizedDataset, of file: Dataset, fits model: Model, room: Int
    ) throws {
        var longest = 0
        for row in data.rows {
            longest = max(longest, row.prompt.count + (row.completions.map(\.count).max() ?? 0))
            for ids in [row.prompt] + row.completions {
                if let id = ids.first(where: { $0 < 0 || Int($0) >= model.vocabularySize }) {
                    throw KeelError(
                        "data",
                        "the tokenizer gives token id \(id), the model's vocabulary has \(model.vocabularySize)",
                        at: file.place(row.index),
                        fix: "use the tokenizer that came with the model", code: .badData)
                }
            }
        }
        guard longest + room <= model.contextLength else {
            throw KeelError(
                "data", "a row has \(longest) tokens, the model takes \(model.contextLength)",
                at: file.path, fix: "set data.max_length to \(model.contextLength) or less",
                code: .badData)
        }
    }

    /// The columns this host can give; anything else an objective needs is refused before the run.
    private static func check(_ needs: [String], isOnline: Bool, _ config: RunConfig) throws {
        let common = [
            "logprobs", "seq_logprobs", "mean_logprobs", "entropy", "mask", "tokens", "length",
        ]
        let online = [
            "old_logprobs", "old_seq_logprobs", "old_mean_logprobs", "behavior_logprobs", "rewards",
            "weight",
            "group", "finished",
        ]
        let reference = ["ref_logprobs", "ref_seq_logprobs", "ref_mean_logprobs"]
        let known = common + reference + (isOnline ? online : []) + ["margin"]
        for need in needs where !need.hasSuffix("?") {
            let (_, base) = ColumnNames.split(need)
            guard known.contains(base) else {
                throw KeelError(
                    "plugin",
                    "objective \"\(config.objective.plugin)\" needs the column \"\(need)\"",
                    at: config.places.place(of: "objective.plugin"),
                    fix: "a run of this kind gives \(known.joined(separator: ", "))",
                    code: .unavailable)
            }
        }
    }

    /// What the contract lets an objective ask for and this host cannot do yet, and groups that a micro-batch would part.
    private static func refuseUnsupported(_ component: Component, _ config: RunConfig) throws {
        func refuse(_ what: String, _ fix: String) -> KeelError {
            KeelError(
                "plugin", "objective \"\(component.name)\" \(what)",
                at: config.places.place(of: "objective.plugin"), fix: fix, code: .unavailable)
        }
        let other = "choose another objective, or a newer Keel"
        if component.phases.count > 1 {
            throw refuse("has several phases; this Keel runs one", other)
        }
        if component.flags.contains(.prepareDataset) {
            throw refuse(
                "prepares the whole data set; this Keel prepares the rows of a step", other)
        }
        if let head = component.heads.first { throw refuse("needs the head \"\(head)\"", other) }
        if component.flags.contains(.coupled), component.data == "rollouts",
            config.train.perDeviceTrainBatchSize % config.train.numGenerations != 0
        {
            throw refuse(
                "needs whole groups in a micro-batch",
                "set train.per_device_train_batch_size to a multiple of train.num_generations "
                    + "(\(config.train.numGenerations))")
        }
    }

    private static func reference(
        _ config: RunConfig, needs: [String], temperature: Double, dtype: DType, device: Device,
        cache: String, isOnline: Bool
    ) throws -> ReferenceLogprobs? {
        // A reference costs a pass over every row: only where a column is needed, not merely welcome.
        guard
            needs.contains(where: {
                !$0.hasSuffix("?") && ColumnNames.split($0).base.hasPrefix("ref_")
            })
        else {
            return nil
        }
        var folder = config.model.path
        var cacheFolder: String? = cache
        switch config.reference {
        case .none: return nil
        case .initial: break
        case .path(let path, let isCached):
            folder = path
            if !isCached { cacheFolder = nil }
        }
        let frozen = try Model.load(directory: folder, dtype: dtype, device: device)
        return ReferenceLogprobs(
            scorer: SequenceScorer(model: frozen, temperature: temperature),
            contentHash: try ModelDirectory(folder).contentHash(),
            cacheFolder: isOnline ? nil : cacheFolder)
    }
}

extension TrainConfig {
    /// Rows of an optimizer step on one rank.
    var rowsPerStep: Int { perDeviceTrainBatchSize * gradientAccumulationSteps }
}

extension DataConfig {
    /// `columns` as plain text; the config reader has checked the types.
    var renames: [String: String] {
        Dictionary(
            columns.compactMap { pair in pair.value.string.map { (pair.key, $0) } },
            uniquingKeysWith: { $1 })
    }
}
