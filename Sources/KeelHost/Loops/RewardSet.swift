import KeelBridge
import KeelCore
import OrderedCollections

/// The rewards of a run: their runners, and how their scores become one number.
struct RewardSet {
    let runners: [any RewardRunner]
    let composition: RewardComposition

    var names: [String] { composition.parts.map(\.name) }

    /// Makes the instances that a config's rewards ask for.
    ///
    /// - Throws: `KeelError` when a plugin refuses its parameters.
    init(
        _ config: RunConfig, _ rewards: [RunPlugins.Choice], catalog: PluginCatalog, seed: UInt64
    ) throws {
        let parts = config.rewards.map { reward in
            RewardComposition.Part(
                name: reward.shownName, weight: reward.weight,
                clip: reward.clip.flatMap { $0.count == 2 ? $0[0]...$0[1] : nil })
        }
        let missing: RewardComposition.Missing =
            switch config.combine.missing {
            case .stop: .stop
            case .dropRow: .dropRow
            case .constant: .constant(config.combine.constant)
            }
        composition = RewardComposition(parts: parts, missing: missing)
        runners = try zip(config.rewards, rewards).map { reward, choice in
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
        var milliseconds: [[Double]]
        /// What the plugins reported themselves, prefixed by their names.
        var reported: MetricSums
    }

    /// Scores samples with every runner and combines.
    ///
    /// - Throws: `KeelError` (stopped) as `RewardComposition.combine` does, or a plugin's own error.
    func score(_ samples: [Sample], group: [Int32], context: CallContext) throws -> Scored {
        let rows = samples.indices.map { i in
            RewardRow(
                id: UInt64(samples[i].prompt.row), prompt: Array(samples[i].promptText.utf8),
                response: Array(samples[i].text.utf8), tokens: samples[i].tokens,
                promptTokens: samples[i].prompt.tokens, row: samples[i].prompt.json,
                group: group[i],
                isFinished: samples[i].isFinished)
        }
        return try score(rows, context: context)
    }

    func score(_ rows: [RewardRow], context: CallContext) throws -> Scored {
        for runner in runners { try runner.submit(rows, context: context) }
        let answers = try runners.map { try $0.collect() }
        var reported = MetricSums()
        for runner in runners { reported.merge(runner.takeMetrics()) }
        let scores = answers.map { $0.map { Double($0.value) } }
        let combined = try composition.combine(scores) { "row \(rows[$0].id)" }
        return Scored(
            names: names, scores: scores, rewards: combined.rewards,
            milliseconds: answers.map { $0.map(\.milliseconds) }, reported: reported)
    }
}

extension RewardSet.Scored {
    /// TRL's `reward`, `reward_std`, `frac_reward_zero_std`, `rewards/<name>/{mean,std}`.
    ///
    /// `reward_std` is the mean over groups of the standard deviation inside a group (n - 1), as TRL logs it.
    func metrics(group: [Int32]) -> OrderedDictionary<String, Double> {
        var metrics: OrderedDictionary<String, Double> = [:]
        for (name, values) in zip(names, scores) {
            let there = values.filter { !$0.isNaN }
            metrics["rewards/\(name)/mean"] = Statistics.mean(there)
            metrics["rewards/\(name)/std"] = Statistics.deviation(there)
        }
        metrics["reward"] = Statistics.mean(rewards.filter { !$0.isNaN })
        var groups: OrderedDictionary<Int32, [Double]> = [:]
        for (number, value) in zip(group, rewards) where !value.isNaN {
            groups[number, default: []].append(value)
        }
        let deviations = groups.values.map(Statistics.deviation)
        metrics["reward_std"] = Statistics.mean(deviations)
        metrics["frac_reward_zero_std"] =
            Double(deviations.count { $0 == 0 }) / Double(max(1, deviations.count))
        for (name, value) in reported.values { metrics[name] = value }
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
