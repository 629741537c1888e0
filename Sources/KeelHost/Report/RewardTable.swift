import KeelCore

/// What a run's reward plugins gave and how they behaved, a row for each.
struct RewardTable {
    struct Row: Equatable {
        var name: String
        var plugin: String?
        var weight: Double?
        /// Mean of the first and of the last log line.
        var first: Double?
        var last: Double?
        var deviation: Double?
        /// What the plugin's part of the reward came to at last.
        var weighted: Double?
        /// Sums over the run.
        var errors = 0.0
        var timeouts = 0.0
        var skipped = 0.0
        var restarts = 0.0
        /// Milliseconds of a call: the mean of the log lines' medians, and the largest of their 95 % quantiles.
        var p50: Double?
        var p95: Double?
    }

    let rows: [Row]

    init(_ run: RunRecord) {
        let metrics = run.metrics
        let config = run.manifest?["config"]?["rewards"]?.array ?? []
        rows = RewardTable.names(metrics).map { name in
            func values(_ metric: String) -> [Double] {
                (metrics.columns[metric]?.values ?? []).filter(\.isFinite)
            }
            func calls(_ what: String) -> Double {
                values("reward_calls/\(name)/\(what)").reduce(0, +)
            }
            let mean = values("rewards/\(name)/mean")
            let own = config.first { ($0["name"]?.string ?? $0["plugin"]?.string) == name }
            let medians = values("reward_calls/\(name)/p50_ms")
            return Row(
                name: name, plugin: own?["plugin"]?.string, weight: own?["weight"]?.double,
                first: mean.first, last: mean.last,
                deviation: values("rewards/\(name)/std").last,
                weighted: values("rewards/\(name)/weighted_mean").last,
                errors: calls("errors"), timeouts: calls("timeouts"), skipped: calls("skipped"),
                restarts: calls("restarts"),
                p50: medians.isEmpty ? nil : Statistics.mean(medians),
                p95: values("reward_calls/\(name)/p95_ms").max())
        }
    }

    /// The reward plugins that a run logged something of.
    static func names(_ metrics: MetricTable) -> [String] {
        var names: [String] = []
        for metric in metrics.names {
            let parts = metric.split(separator: "/")
            let isReward =
                (parts.first == "rewards" && parts.last == "mean")
                || (parts.first == "reward_calls" && parts.last == "errors")
            guard isReward, parts.count > 2 else { continue }
            let name = parts.dropFirst().dropLast().joined(separator: "/")
            if !names.contains(name) { names.append(name) }
        }
        return names
    }
}
