import KeelBridge
import KeelCore
import KeelTensor
import OrderedCollections

/// The rewards of a run: their runners, and how their scores become one number.
final class RewardSet {
    let runners: [any RewardRunner]
    private(set) var composition: RewardComposition
    /// Where a data row says that the gate decides.
    private let tag: String?
    private let slowRows = SlowRows()

    var names: [String] { composition.parts.map(\.name) }

    /// What the models of the entries need to know of the run.
    struct Models {
        var device: Device
        /// The folder of the policy: reward models with its tokenizer take its ids; nil = there is only text.
        var policy: String?
    }

    init(runners: [any RewardRunner], composition: RewardComposition) {
        self.runners = runners
        self.composition = composition
        tag = nil
    }

    /// Makes the instances that a config's rewards ask for, and loads the models they name.
    ///
    /// - Throws: `KeelError` when a plugin refuses its parameters, or a model cannot be loaded.
    init(
        _ config: RunConfig, _ rewards: [RunPlugins.Choice], catalog: PluginCatalog, seed: UInt64,
        models: Models
    ) throws {
        composition = RewardComposition(config)
        tag = config.combine.activeTag
        let folders = RewardModels(device: models.device)
        let tokenizer = try models.policy.map { try RewardModels.tokenizerHash($0) }
        runners = try zip(config.rewards, rewards).enumerated().map { i, entry in
            let (reward, choice) = entry
            let runner = try RewardSet.runner(reward, choice, catalog: catalog, seed: seed)
            return try folders.source(
                of: reward, seed: seed, policyTokenizer: tokenizer,
                place: { config.places.place(of: "rewards.\(i).\($0)") }
            ).map { ModelBackedReward(runner, $0) } ?? runner
        }
    }

    /// Where the config wants the plugin to run.
    private static func runner(
        _ reward: RewardConfig, _ choice: RunPlugins.Choice, catalog: PluginCatalog, seed: UInt64
    ) throws -> any RewardRunner {
        switch reward.run.isolate {
        case .worker:
            try WorkerReward(
                choice.component, parameters: choice.parameters, name: reward.shownName,
                seed: seed, options: reward.run.options)
        case .none:
            try InProcessReward(
                choice.component, catalog: catalog, parameters: choice.parameters,
                name: reward.shownName, seed: seed)
        }
    }

    struct Scored {
        var names: [String]
        /// `[reward][row]`, NaN where not applicable.
        var scores: [[Double]]
        /// Combined; NaN where the row is dropped.
        var rewards: [Double]
        /// `[reward][row]`: normalised and clipped; then times its weight, as the sum takes it.
        var used: [[Double]]
        var weighted: [[Double]]
        /// `[row][token]`, weighted and summed; nil when no reward gives any.
        var tokenRewards: [[Double]]?
        /// The share of the rows in which the gate decided; nil without a gate.
        var gatedShare: Double?
        var milliseconds: [[Double]]
        /// What the plugins reported themselves, prefixed by their names.
        var reported: MetricSums
        /// What went wrong and was slow, one for each reward.
        var reports: [RewardReport]
    }

    /// Scores samples with every runner and combines.
    ///
    /// - Throws: `KeelError` (stopped) as `RewardComposition.combine` does, or a plugin's own error.
    func score(
        _ samples: [Sample], group: [Int32], purpose: RewardComposition.Purpose,
        context: CallContext
    ) throws -> Scored {
        try score(
            zip(samples, group).map { RewardRow($0, group: $1) }, purpose: purpose,
            context: context)
    }

    func score(
        _ rows: [RewardRow], purpose: RewardComposition.Purpose, context: CallContext
    ) throws -> Scored {
        for runner in runners { try runner.submit(rows, context: context) }
        return try combine(try runners.map { try $0.collect() }, of: rows, purpose: purpose)
    }

    /// One number for each row.
    ///
    /// - Parameters:
    ///   - answers: `[reward][row]`.
    ///   - tokenRewards: `[reward]`, nil or `[row][token]`; empty = nobody is interested.
    func combine(
        _ answers: [[RewardScore]], tokenRewards: [[[Double]]?] = [], of rows: [RewardRow],
        purpose: RewardComposition.Purpose
    ) throws -> Scored {
        var reported = MetricSums()
        for runner in runners { reported.merge(runner.takeMetrics()) }
        let scores = answers.map { $0.map { Double($0.value) } }
        let combined = try composition.combine(
            scores, rows: describe(rows, answers), purpose: purpose
        ) { "row \(rows[$0].id)" }
        return Scored(
            names: names, scores: scores, rewards: combined.rewards, used: combined.used,
            weighted: combined.weighted,
            tokenRewards: TokenRewards.sum(tokenRewards, shares: combined.shares),
            gatedShare: composition.gate.map { _ in
                Double(combined.gated.count) / Double(max(1, rows.count))
            },
            milliseconds: answers.map { $0.map(\.milliseconds) }, reported: reported,
            reports: runners.map { $0.takeReport() })
    }

    /// Names the rows that took far longer than others, now and then.
    func tellSlowRows(_ scored: Scored) {
        for line in slowRows.lines(
            names: names, reports: scored.reports, milliseconds: scored.milliseconds,
            now: Clock.now())
        {
            Log.notice(line)
        }
    }

    /// What the composition needs to know of the rows.
    ///
    /// - Parameter answers: `[reward][row]`; a row that failed and has no score is dropped.
    func describe(
        _ rows: [RewardRow], _ answers: [[RewardScore]]
    ) -> [RewardComposition.Row] {
        rows.enumerated().map { number, row in
            var known = RewardComposition.Row()
            known.length = row.tokens.count
            known.isFinished = row.isFinished
            known.group = row.group
            known.isDropped = answers.contains { $0[number].isFailed && $0[number].value.isNaN }
            known.isTagged = RewardSet.isTagged(row.row, tag)
            return known
        }
    }

    /// Whether a data row says, where `combine.tag` points, that the gate decides.
    static func isTagged(_ row: JSON, _ tag: String?) -> Bool {
        guard let tag, let value = row.value(at: tag) else { return false }
        return value.bool ?? value.number.map { $0 != 0 } ?? !value.isNull
    }

    // MARK: - Checkpoints

    /// What a checkpoint holds of the rewards: the states of the plugins and the running moments of their scores.
    struct Snapshot {
        var plugins: [Instance.State?]
        var moments: JSON?

        func write(into state: inout JSONObject) {
            if plugins.contains(where: { $0 != nil }) {
                state["rewards"] = .array(plugins.map { $0?.json ?? .null })
            }
            if let moments { state["reward_moments"] = moments }
        }
    }

    func snapshot() throws -> Snapshot {
        Snapshot(plugins: try runners.map { try $0.save() }, moments: composition.state)
    }

    /// Takes back what `snapshot` wrote.
    func restore(_ state: JSON) throws {
        for (runner, saved) in zip(runners, state["rewards"]?.array ?? []) {
            if let saved = Instance.State(json: saved) { try runner.load(saved) }
        }
        composition.restore(state["reward_moments"])
    }
}

extension RewardComposition {
    /// What the sections `rewards` and `combine` say.
    init(_ config: RunConfig) {
        let combine = config.combine
        let parts = config.rewards.map { reward in
            Part(
                name: reward.shownName, weight: reward.weight,
                clip: reward.clip.flatMap { $0.count == 2 ? $0[0]...$0[1] : nil },
                normalization: Normalization(rawValue: reward.normalize.rawValue) ?? .none)
        }
        let missing: Missing =
            switch combine.missing {
            case .stop: .stop
            case .dropRow: .dropRow
            case .constant: .constant(combine.constant)
            }
        self.init(parts: parts, missing: missing)
        if combine.rule == .gated {
            let part = parts.firstIndex { $0.name == combine.gate } ?? 0
            gate = Gate(part: part, threshold: combine.threshold)
        }
        isGroupNormalized = combine.rule == .normalizeThenSum
        transform = Transform(rawValue: combine.effectiveTransform.rawValue) ?? .none
        if let overlong = combine.overlong {
            let longest = overlong.maxLength ?? config.data.maxCompletionLength ?? 512
            shaping.overlong = (Double(longest), Double(overlong.cache), overlong.factor)
        }
        shaping.stopProperly = combine.stopProperly
        shaping.missingEOSPenalty = combine.missingEOSPenalty
    }
}

extension RewardReport {
    /// What is counted, by the names of `reward_calls/<name>/`.
    fileprivate var counts: [(String, Int)] {
        [("errors", errors), ("timeouts", timeouts), ("skipped", skipped), ("restarts", restarts)]
    }
}

extension RewardSet.Scored {
    /// TRL's `reward`, `reward_std`, `frac_reward_zero_std`, `rewards/<name>/{mean,std}`.
    ///
    /// `reward_std` is the mean over groups of the standard deviation inside a group (n - 1), as TRL logs it; where every
    /// prompt has one completion there are no groups to speak of.
    func metrics(group: [Int32]) -> OrderedDictionary<String, Double> {
        var metrics: OrderedDictionary<String, Double> = [:]
        for (name, values) in zip(names, scores) {
            let there = values.filter { !$0.isNaN }
            metrics["rewards/\(name)/mean"] = Statistics.mean(there)
            metrics["rewards/\(name)/std"] = Statistics.deviation(there)
        }
        for (name, values) in zip(names, used) {
            metrics["rewards/\(name)/used_mean"] = Statistics.mean(values.filter { !$0.isNaN })
        }
        for (name, values) in zip(names, weighted) {
            metrics["rewards/\(name)/weighted_mean"] = Statistics.mean(values.filter { !$0.isNaN })
        }
        if let gatedShare { metrics["rewards/gated_frac"] = gatedShare }
        metrics["reward"] = Statistics.mean(rewards.filter { !$0.isNaN })
        var groups: OrderedDictionary<Int32, [Double]> = [:]
        for (number, value) in zip(group, rewards) where !value.isNaN {
            groups[number, default: []].append(value)
        }
        if Set(group).count < group.count {
            let deviations = groups.values.map(Statistics.deviation)
            metrics["reward_std"] = Statistics.mean(deviations)
            metrics["frac_reward_zero_std"] =
                Double(deviations.count { $0 == 0 }) / Double(max(1, deviations.count))
        }
        for (name, value) in reported.values { metrics[name] = value }
        for (name, report) in zip(names, reports) {
            for (key, count) in report.counts {
                metrics["reward_calls/\(name)/\(key)"] = Double(count)
            }
        }
        for (name, times) in zip(names, milliseconds) {
            let sorted = times.sorted()
            guard !sorted.isEmpty else { continue }
            metrics["reward_calls/\(name)/p50_ms"] = sorted[sorted.count / 2]
            metrics["reward_calls/\(name)/p95_ms"] =
                sorted[min(sorted.count - 1, sorted.count * 95 / 100)]
        }
        return metrics
    }
}

/// Plain statistics of small lists.
enum Statistics {
    /// 0 for no values.
    static func mean(_ values: [Double]) -> Double {
        values.isEmpty ? 0 : values.reduce(0, +) / Double(values.count)
    }

    /// The sample standard deviation (n - 1); 0 for fewer than two values.
    static func deviation(_ values: [Double]) -> Double {
        guard values.count > 1 else { return 0 }
        let mean = mean(values)
        let sum = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        return (sum / Double(values.count - 1)).squareRoot()
    }
}
