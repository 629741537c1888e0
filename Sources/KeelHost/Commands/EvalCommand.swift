import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor

/// `keel eval`: how good a model's completions are, alone and against another model's.
package enum EvalCommand {
    package struct Options: Sendable {
        /// A model's folder, or an adapter's.
        package var model: String
        /// An adapter of `model`.
        package var adapter: String?
        package var against: String?
        /// What the KL of both is measured to.
        package var reference: String?
        package var data: String
        /// Nil: nothing judges the completions.
        package var rewardsPath: String?
        /// The file that gets the result too.
        package var out: String?
        package var pluginPaths: [String] = []
        package var maxNewTokens: Int?
        package var seed: UInt64 = 0
        /// Rows used, from the start of the file; nil = all.
        package var rows: Int?
        /// Completions of each prompt.
        package var count = 1
        package var dtype = DType.f32
        package var threads: Int?

        package init(model: String, data: String) {
            self.model = model
            self.data = data
        }
    }

    /// - Returns: `{"rows", "model": {...}, "against": {...}?, "win_rate"?, ...}`; see docs/evaluation.md.
    /// - Throws: `KeelError` for folders, data and rewards that cannot be used, before anything is generated.
    package static func run(_ options: Options, progress: Progress? = nil) throws -> JSON {
        let report = JSON.object(try Evaluator(options, progress).report())
        if let out = options.out { try AtomicWrite.file(out, report.text(pretty: true) + "\n") }
        return report
    }
}

/// One evaluation: what it was told, and what it has loaded.
private struct Evaluator {
    let options: EvalCommand.Options
    let progress: Progress?
    let config: RunConfig
    let catalog: PluginCatalog
    let sampler: any TokenSampling
    let rewards: RewardSet?
    let device: Device
    let sources: (model: ModelSource, against: ModelSource?, reference: ModelSource?)

    init(_ options: EvalCommand.Options, _ progress: Progress?) throws {
        self.options = options
        self.progress = progress
        catalog = PluginCatalog(searchPaths: options.pluginPaths)
        sources = (
            try ModelSource(options.model, adapter: options.adapter),
            try options.against.map { try ModelSource($0, option: "--against") },
            try options.reference.map { try ModelSource($0, option: "--reference") }
        )
        if let out = options.out {
            let folder = Files.parent(out)
            guard folder.isEmpty || Files.isDirectory(folder) else {
                throw KeelError(
                    "eval", "the folder for the result does not exist", at: out,
                    fix: "make it first, or name another --out", code: .cannotCreate)
            }
        }
        device = Device.cpu(threads: options.threads ?? Machine.cores)
        guard let path = options.rewardsPath else {
            config = RunConfig()
            rewards = nil
            sampler = PlainSampling()
            return
        }
        let (config, choices, choice) = try RunConfig.loadRewards(path, catalog: catalog)
        self.config = config
        sampler = PluginSampling(
            try TokenSamplerInstance(
                choice.component, catalog: catalog, parameters: choice.parameters,
                seed: options.seed))
        rewards = try RewardSet(
            config, choices, catalog: catalog, seed: options.seed,
            models: .init(device: device, policy: sources.model.textFolder))
    }

    func report() throws -> JSONObject {
        var model = try load(sources.model)
        let prompts: [Prompt]
        do {
            prompts = try model.prompts(options.data, rows: options.rows, config)
        } catch {
            // A file of plain texts has no prompts, and a perplexity all the same.
            guard let answers = try? model.answers(options.data, rows: options.rows, config) else {
                throw error
            }
            return try textsReport(model, answers)
        }
        guard !prompts.isEmpty else {
            throw KeelError(
                "eval", "no prompt leaves room for an answer", at: options.data,
                fix: "use shorter prompts, or a model with a longer context", code: .badData)
        }
        let reference = try sources.reference.map(load)
        try complete(&model, prompts)
        var report: JSONObject = [
            "rows": JSON(prompts.count), "n": JSON(options.count), "data": .string(options.data),
            "seed": JSON(Int(truncatingIfNeeded: options.seed)),
            "temperature": .double(config.sampler.temperature),
        ]
        if let rewards { report.append("judge", .string(judge(rewards))) }
        report.append("model", .object(try summary(model, prompts, reference)))
        if let source = sources.against {
            var other = try load(source)
            let theirs = try other.prompts(options.data, rows: options.rows, config)
            try requireSame(prompts, theirs)
            try complete(&other, theirs)
            report.append("against", .object(try summary(other, theirs, reference)))
            compare(model, other, into: &report)
            try addKL(of: model, prompts, to: other, theirs, into: &report)
        }
        return report
    }

    private func load(_ source: ModelSource) throws -> ModelAnswers {
        try ModelAnswers(source, config, dtype: options.dtype, device: device)
    }

    private func complete(_ model: inout ModelAnswers, _ prompts: [Prompt]) throws {
        try model.complete(
            prompts, count: options.count, config, sampler: sampler,
            maxNewTokens: options.maxNewTokens ?? config.data.maxCompletionLength ?? 128,
            seed: options.seed, rewards: rewards, progress: progress)
    }

    private func textsReport(_ model: ModelAnswers, _ answers: DataAnswers) throws -> JSONObject {
        Log.notice("\(options.data) holds texts without prompts: only their perplexity is measured")
        func numbers(_ answers: DataAnswers, _ model: ModelAnswers) throws -> JSONObject {
            var out = names(model)
            for (name, value) in try answers.perplexity(model.model) {
                out.append(name, .double(value))
            }
            return out
        }
        var report: JSONObject = [
            "data": .string(options.data), "model": .object(try numbers(answers, model)),
        ]
        if let source = sources.against {
            let other = try load(source)
            if let own = try other.answers(options.data, rows: options.rows, config) {
                report.append("against", .object(try numbers(own, other)))
            }
        }
        return report
    }

    // MARK: - One model

    private func names(_ model: ModelAnswers) -> JSONObject {
        var out: JSONObject = [
            "name": .string(Files.name(model.source.name)), "path": .string(model.source.folder),
        ]
        if let adapter = model.source.adapter { out.append("adapter", .string(adapter)) }
        return out
    }

    /// The number that decides a win: the combined reward.
    private func judge(_ rewards: RewardSet) -> String {
        "combined reward: "
            + rewards.composition.parts.map { "\(JSON.double($0.weight).text()) x \($0.name)" }
            .joined(separator: " + ")
    }

    private func means(_ numbers: [Double]) -> PromptMeans {
        PromptMeans(numbers, count: options.count)
    }

    /// Adds a mean over prompts with its interval.
    private func add(_ name: String, _ numbers: [Double], to out: inout JSONObject) {
        let means = means(numbers)
        guard !means.values.isEmpty else { return }
        let (low, high) = means.interval(seed: options.seed)
        out.append(name, .double(means.mean))
        out.append("\(name)_interval_95", [.double(low), .double(high)])
    }

    private func summary(
        _ model: ModelAnswers, _ prompts: [Prompt], _ reference: ModelAnswers?
    ) throws -> JSONObject {
        var out = names(model)
        if let scored = model.scored {
            add("reward", scored.rewards, to: &out)
            var parts = JSONObject()
            var intervals = JSONObject()
            for (name, values) in zip(scored.names, scored.scores) {
                let means = means(values)
                guard !means.values.isEmpty else { continue }
                let (low, high) = means.interval(seed: options.seed)
                parts.append(name, .double(means.mean))
                intervals.append(name, [.double(low), .double(high)])
            }
            out.append("rewards", .object(parts))
            out.append("rewards_interval_95", .object(intervals))
            let silent = scored.rewards.count { $0.isNaN }
            if silent > 0 { out.append("without_reward", JSON(silent)) }
        }
        let samples = model.samples
        out.append(
            "length_tokens", .double(Statistics.mean(samples.map { Double($0.tokens.count) })))
        out.append("finished", .double(Statistics.mean(samples.map { $0.isFinished ? 1 : 0 })))
        let texts = samples.map(\.text)
        for n in 1...3 {
            out.append("distinct_\(n)_corpus", .double(DistinctN.corpus(texts, n)))
            out.append("distinct_\(n)_per_word", .double(DistinctN.perWord(texts, n)))
        }
        if let reference {
            let theirs = try reference.prompts(options.data, rows: options.rows, config)
            try addKL(of: model, prompts, to: reference, theirs, into: &out)
        }
        do {
            let answers = try model.answers(options.data, rows: options.rows, config)
            for (name, value) in try answers?.perplexity(model.model) ?? [] {
                out.append(name, .double(value))
            }
        } catch {
            Log.warning("no perplexity of the data's own answers: \(error)")
        }
        return out
    }

    // MARK: - Two models

    /// - Throws: `KeelError` (badData) when one model has no room for a prompt that the other can read.
    private func requireSame(_ prompts: [Prompt], _ theirs: [Prompt]) throws {
        guard prompts.map(\.row) != theirs.map(\.row) else { return }
        throw KeelError(
            "eval",
            "the two models have room for different prompts (\(prompts.count) and \(theirs.count))",
            at: options.data, fix: "leave out the rows that do not fit the shorter context",
            code: .badData)
    }

    /// Wins and the difference of rewards, completion against completion.
    private func compare(
        _ model: ModelAnswers, _ other: ModelAnswers, into report: inout JSONObject
    ) {
        guard let own = model.scored?.rewards, let theirs = other.scored?.rewards else { return }
        let pairs = zip(own, theirs)
        let wins = pairs.map { own, other in
            own.isNaN || other.isNaN ? Double.nan : own > other ? 1.0 : own == other ? 0.5 : 0.0
        }
        add("win_rate", wins, to: &report)
        let ties = wins.filter { !$0.isNaN }.map { $0 == 0.5 ? 1.0 : 0.0 }
        report.append("ties", .double(Statistics.mean(ties)))
        add("reward_difference", pairs.map { $0 - $1 }, to: &report)
    }

    /// Adds `kl`, in nats a completion; null where the other model reads the prompts otherwise.
    private func addKL(
        of model: ModelAnswers, _ prompts: [Prompt], to other: ModelAnswers, _ theirs: [Prompt],
        into out: inout JSONObject
    ) throws {
        guard model.readsAlike(other, prompts, theirs),
            prompts.map(\.tokens) == theirs.map(\.tokens)
        else {
            Log.warning(
                "no KL of \(model.source.name) to \(other.source.name): they do not read the prompts alike"
            )
            out.append("kl", .null)
            return
        }
        let ratios = try model.logRatios(
            to: other.model, temperature: config.sampler.temperature)
        add("kl", ratios, to: &out)
        let tokens = model.samples.reduce(0) { $0 + $1.tokens.count }
        out.append("kl_per_token", .double(ratios.reduce(0, +) / Double(max(1, tokens))))
    }
}
