import KeelBridge
import KeelCore
import KeelData
import KeelTensor

/// `keel reward try`: what rewards make of a data file, scored as a run scores completions.
package struct RewardTry {
    package struct Options: Sendable {
        /// One reward, by name or path.
        package var plugin: String?
        /// A C function, in place of a plugin.
        package var native: NativeFunction?
        /// Its parameters.
        package var params = JSONObject()
        /// The folder of its reward model, or of its judge.
        package var model: String?
        package var judge: String?
        /// Tokens of a judge's reply at most.
        package var maxNewTokens: Int?
        /// A file with the sections `rewards` and `combine`, in place of one reward.
        package var config: String?
        package var data: String
        /// Rows used, from the start of the file; nil = all.
        package var limit: Int?
        package var seed: UInt64 = 0
        package var threads: Int?

        package init(data: String) { self.data = data }
    }

    /// One side of the rows: the completions, or the chosen or rejected answers.
    struct Side {
        var name: String
        var scores: [Double]
        var milliseconds: [Double]
    }

    /// One reward, or the combination of all.
    struct Entry {
        var name: String
        var title: String
        var sides: [Side]
        var metrics = MetricSums()
        var report = RewardReport()
        /// How often the chosen answer got more, less or as much as the rejected one; nil for single completions.
        private(set) var agreement: (higher: Int, lower: Int, equal: Int)?

        init(_ name: String, title: String, sides: [Side]) {
            self.name = name
            self.title = title
            self.sides = sides
            guard sides.count == 2 else { return }
            var counts = (higher: 0, lower: 0, equal: 0)
            for (a, b) in zip(sides[0].scores, sides[1].scores) where !a.isNaN && !b.isNaN {
                if a > b {
                    counts.higher += 1
                } else if a < b {
                    counts.lower += 1
                } else {
                    counts.equal += 1
                }
            }
            agreement = counts
        }
    }

    let rows: Int
    /// Each reward.
    let entries: [Entry]
    /// What the section `combine` makes of them; nil for a single plugin.
    let combined: Entry?

    /// Scores `completion`, else both sides of each pair.
    ///
    /// Rows with the same prompt are a group for rewards that compare the answers to one prompt.
    ///
    /// - Throws: `KeelError` about the plugins, their parameters, the models or the data.
    package init(_ options: Options, catalog: PluginCatalog) throws {
        let (config, choices) = try RewardTry.rewards(options, catalog)
        let dataset = try config.scoredRows(
            options.data, single: .promptCompletion, list: .promptCompletion)
        let count = min(options.limit ?? dataset.count, dataset.count)
        let names = dataset.kind == .preference ? ["chosen", "rejected"] : ["completion"]
        let batch = try RewardTry.batch(dataset, count: count, sides: names.count)

        let set = try RewardSet(
            config, choices, catalog: catalog, seed: options.seed,
            models: .init(device: Device.cpu(threads: options.threads ?? Machine.cores)))
        for runner in set.runners {
            // One row per call, so that each row has its own time; coupled rewards see all rows at once.
            let inner = (runner as? ModelBackedReward)?.inner ?? runner
            (inner as? InProcessReward)?.rowsPerCall = 1
            try runner.submit(batch, context: CallContext())
        }
        let answers = try set.runners.map { try $0.collect() }

        func sides(_ values: [Double], _ times: [Double]) -> [Side] {
            names.enumerated().map { number, name in
                let range = number * count..<(number + 1) * count
                return Side(
                    name: name, scores: Array(values[range]),
                    milliseconds: times.isEmpty ? [] : Array(times[range]))
            }
        }
        rows = count
        entries = zip(set.runners, answers).map { runner, scores in
            var entry = Entry(
                runner.name, title: runner.component.title,
                sides: sides(
                    scores.map { PluginEval.decimal($0.value) }, scores.map(\.milliseconds)))
            entry.metrics = runner.takeMetrics()
            entry.report = runner.takeReport()
            return entry
        }
        guard options.config != nil else {
            combined = nil
            return
        }
        var composition = set.composition
        // A row that nobody answers is told of, it stops nothing here.
        composition.missing = .dropRow
        let result = try composition.combine(
            answers.map { $0.map { PluginEval.decimal($0.value) } },
            rows: set.describe(batch, answers), purpose: .evaluation
        ) { "row \($0 % count + 1)" }
        combined = Entry(
            "combined", title: "combined reward", sides: sides(result.rewards, []))
    }

    /// The rewards that the options name.
    private static func native(
        _ function: NativeFunction, _ params: JSONObject
    ) throws -> (RunConfig, [RunPlugins.Choice]) {
        let component = try function.component()
        let parameters = try function.validate(params: params) { _ in "--params" }
        var reward = RewardConfig()
        reward.name = component.name
        var config = RunConfig()
        config.rewards = [reward]
        return (config, [RunPlugins.Choice(component: component, parameters: parameters)])
    }

    private static func rewards(
        _ options: Options, _ catalog: PluginCatalog
    ) throws -> (RunConfig, [RunPlugins.Choice]) {
        if let path = options.config {
            let (config, choices, _) = try RunConfig.loadRewards(path, catalog: catalog)
            return (config, choices)
        }
        if let function = options.native { return try native(function, options.params) }
        guard let plugin = options.plugin else {
            throw KeelError(
                "usage", "no reward to try", fix: "give a plugin, or --rewards CONFIG", code: .usage
            )
        }
        let component = try catalog.find(plugin, kind: .reward)
        let parameters = try component.validate(params: options.params, place: "--params")
        var reward = RewardConfig()
        reward.plugin = plugin
        reward.name = component.name
        if let path = options.model {
            reward.model = RewardModelConfig()
            reward.model?.path = path
        }
        if let path = options.judge {
            reward.judge = JudgeConfig()
            reward.judge?.path = path
            if let limit = options.maxNewTokens { reward.judge?.maxNewTokens = limit }
        }
        for problem in RewardModels.problems(component, reward) {
            throw KeelError(
                "usage", problem.what, at: problem.isMissing ? plugin : "--\(problem.key)",
                fix: problem.isMissing
                    ? "add --\(problem.key) FOLDER" : "remove --\(problem.key)", code: .usage)
        }
        for (path, key) in [(options.model, "model"), (options.judge, "judge")] {
            guard let path else { continue }
            try RewardModels.check(path, isJudge: key == "judge", place: "--\(key)")
        }
        var config = RunConfig()
        config.rewards = [reward]
        return (config, [RunPlugins.Choice(component: component, parameters: parameters)])
    }

    /// All rows of one side, then those of the other.
    private static func batch(
        _ dataset: Dataset, count: Int, sides: Int
    ) throws -> [RewardRow] {
        let texts = try (0..<count).map { try dataset.texts($0) }
        var groups: [String: Int32] = [:]
        return (0..<sides).flatMap { side in
            texts.enumerated().map { index, text in
                let (prompt, completions) = text.spoken
                let group = groups[prompt, default: Int32(clamping: groups.count)]
                groups[prompt] = group
                return RewardRow(
                    id: UInt64(index), prompt: Array(prompt.utf8),
                    response: Array(
                        (side < completions.count ? completions[side] : "").utf8),
                    row: dataset.row(index), group: group)
            }
        }
    }
}
