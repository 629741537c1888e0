import Glibc
import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor
import KeelText

/// `keel eval`: how good a model's completions are, alone and against another model's.
package enum EvalCommand {
    package struct Options: Sendable {
        package var model: String
        package var against: String?
        package var data: String
        package var rewardsPath: String
        package var pluginPaths: [String] = []
        package var maxNewTokens: Int?
        package var seed: UInt64 = 0
        /// Rows used, from the start of the file; nil = all.
        package var rows: Int?
        package var dtype = DType.f32
        package var threads: Int?

        package init(model: String, data: String, rewardsPath: String) {
            self.model = model
            self.data = data
            self.rewardsPath = rewardsPath
        }
    }

    /// - Returns: `{"rows", "judge", "model": {...}, "against": {...}?, "win_rate"?, ...}`; see docs/commands.md.
    package static func run(_ options: Options) throws -> JSON {
        let catalog = PluginCatalog(searchPaths: options.pluginPaths)
        let (config, choices, sampler) = try RunConfig.loadRewards(
            options.rewardsPath, catalog: catalog)
        let device = Device.cpu(
            threads: options.threads ?? max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        let rewards = try RewardSet(
            config, choices, catalog: catalog, seed: options.seed,
            models: .init(device: device, policy: options.model))

        func completions(_ folder: String) throws -> (Model, [Sample], RewardSet.Scored) {
            let tokenizer = try Tokenizer.load(directory: folder)
            let template = try ChatTemplate.load(
                directory: folder, tokenizer: tokenizer, file: config.data.chatTemplate)
            let dataset = try Dataset.load(
                path: options.data, wanted: .prompt, columns: config.data.renames,
                layout: RowLayout(config.data.type),
                conversation: Conversation(template, tokenizer: tokenizer, trained: .assistant))
            let model = try Model.load(
                directory: folder, dtype: options.dtype, device: device, hasMaster: { _ in false })
            let limits = LengthLimits(
                maxLength: model.contextLength - 1, maxPromptLength: nil, maxCompletionLength: nil)
            let tokens = try TokenizedDataset.tokenize(
                dataset, tokenizer: tokenizer, limits: limits, cacheDirectory: nil)
            let prompts = tokens.rows.prefix(options.rows ?? .max).map {
                Prompt(
                    row: $0.index, tokens: $0.prompt, json: dataset.row($0.index),
                    text: dataset.spokenPrompt($0.index))
            }
            let sampling = Sampling(
                config.sampler, model: model, tokenizer: tokenizer,
                sampler: PluginSampling(
                    try TokenSamplerInstance(
                        sampler.component, catalog: catalog, parameters: sampler.parameters,
                        seed: options.seed)),
                maxNewTokens: options.maxNewTokens ?? config.data.maxCompletionLength ?? 128,
                seed: options.seed)
            let samples = try sampling.generate(
                Array(prompts), samplesPerPrompt: 1, stream: 0, place: "evaluate")
            let scored = try rewards.score(
                samples, group: samples.indices.map { Int32($0) }, purpose: .evaluation,
                context: CallContext())
            return (model, samples, scored)
        }

        let (model, samples, scored) = try completions(options.model)
        var report: JSONObject = [
            "rows": JSON(samples.count), "judge": .string(judge(rewards)),
            "model": .object(summary(options.model, samples, scored, seed: options.seed)),
        ]
        if let against = options.against {
            let (other, otherSamples, otherScored) = try completions(against)
            guard samples.map(\.prompt.tokens) == otherSamples.map(\.prompt.tokens) else {
                throw KeelError(
                    "eval", "the two models do not read the prompts alike", at: options.data,
                    fix:
                        "compare models with the same tokenizer and context, on prompts that fit both",
                    code: .badData)
            }
            report["against"] = .object(
                summary(against, otherSamples, otherScored, seed: options.seed))
            let wins = zip(scored.rewards, otherScored.rewards).map { own, other in
                own.isNaN || other.isNaN ? 0.5 : own > other ? 1.0 : own == other ? 0.5 : 0.0
            }
            let (low, high) = Bootstrap.interval(wins, seed: options.seed)
            report["win_rate"] = .double(Statistics.mean(wins))
            report["win_rate_interval_95"] = [.double(low), .double(high)]
            report["ties"] = .double(Statistics.mean(wins.map { $0 == 0.5 ? 1 : 0 }))
            report["kl"] = try kl(samples, model, other, config.sampler.temperature)
        }
        return .object(report)
    }

    /// The number that decides a win: the combined reward.
    private static func judge(_ rewards: RewardSet) -> String {
        "combined reward: "
            + rewards.composition.parts.map { "\(JSON.double($0.weight).text()) x \($0.name)" }
            .joined(separator: " + ")
    }

    private static func summary(
        _ folder: String, _ samples: [Sample], _ scored: RewardSet.Scored, seed: UInt64
    ) -> JSONObject {
        let rewards = scored.rewards.filter { !$0.isNaN }
        let (low, high) = Bootstrap.interval(rewards, seed: seed)
        var out: JSONObject = [
            "path": .string(folder), "reward": .double(Statistics.mean(rewards)),
            "reward_interval_95": [.double(low), .double(high)],
        ]
        var parts = JSONObject()
        for (name, values) in zip(scored.names, scored.scores) {
            parts.append(name, .double(Statistics.mean(values.filter { !$0.isNaN })))
        }
        out.append("rewards", .object(parts))
        out.append(
            "length_tokens", .double(Statistics.mean(samples.map { Double($0.tokens.count) })))
        out.append("finished", .double(Statistics.mean(samples.map { $0.isFinished ? 1 : 0 })))
        let texts = samples.map(\.text)
        for n in 1...3 {
            out.append("distinct_\(n)_corpus", .double(DistinctN.corpus(texts, n)))
            out.append("distinct_\(n)_per_word", .double(DistinctN.perWord(texts, n)))
        }
        return out
    }

    /// Mean over completions of sum_t log pi_model - log pi_against, in nats: an estimate of the sequence KL.
    private static func kl(
        _ samples: [Sample], _ model: Model, _ other: Model, _ temperature: Double
    ) throws -> JSON {
        let scorers = (
            SequenceScorer(model: model, temperature: temperature),
            SequenceScorer(model: other, temperature: temperature)
        )
        let values = try samples.map { sample in
            let row = TokenizedRow(
                index: sample.prompt.row, prompt: sample.prompt.tokens, completions: [sample.tokens]
            )
            let own = try scorers.0.logprobs([row])[0].reduce(0.0) { $0 + Double($1) }
            let theirs = try scorers.1.logprobs([row])[0].reduce(0.0) { $0 + Double($1) }
            return own - theirs
        }
        return .double(Statistics.mean(values))
    }

    /// The report for people: a line per number, a column per model.
    package static func table(_ report: JSON) -> String {
        let models = ["model", "against"].compactMap { report[$0] }
        func number(_ value: JSON?) -> String {
            guard let value = value?.double else { return "" }
            return "\((value * 10_000).rounded() / 10_000)"
        }
        func row(_ name: String, _ cells: [String]) -> String {
            let padded = cells.map { $0 + String(repeating: " ", count: max(1, 24 - $0.count)) }
                .joined()
            return name + String(repeating: " ", count: max(1, 24 - name.count)) + padded
        }
        var lines = [row("", models.map { Files.name($0["path"]?.string ?? "") })]
        lines.append(
            row(
                "reward",
                models.map { model in
                    let interval = model["reward_interval_95"]
                    return
                        "\(number(model["reward"])) [\(number(interval?[0])), \(number(interval?[1]))]"
                }))
        for name in models.first?["rewards"]?.object?.keys ?? [] {
            lines.append(row("  \(name)", models.map { number($0["rewards"]?[name]) }))
        }
        let keys =
            ["length_tokens", "finished"] + (1...3).map { "distinct_\($0)_corpus" }
            + (1...3).map { "distinct_\($0)_per_word" }
        for key in keys { lines.append(row(key, models.map { number($0[key]) })) }
        lines.append(row("rows", [report["rows"]?.text() ?? ""]))
        lines.append("judge: \(report["judge"]?.string ?? "")")
        if let rate = report["win_rate"] {
            let interval = report["win_rate_interval_95"]
            lines.append(
                "win rate \(number(rate)) [\(number(interval?[0])), \(number(interval?[1]))], ties \(number(report["ties"])) "
                    + "(counted as half), KL \(number(report["kl"])) nats a completion")
        }
        return lines.joined(separator: "\n")
    }
}
