import OrderedCollections

/// Which metrics a page shows together, under which heading.
struct ChartPlan: Equatable {
    var title: String
    /// The metrics drawn, each with the label of its line.
    var lines: [Line]
    /// Metrics whose values are the ends of a band around the first line.
    var band: Line.Ends?

    struct Line: Equatable {
        var metric: String
        var label: String

        struct Ends: Equatable {
            var low: String
            var high: String
        }
    }

    /// A part of the page.
    struct Section: Equatable {
        var title: String
        var plans: [ChartPlan]
    }

    /// Everything but what is no curve, by section.
    ///
    /// - Parameters:
    ///   - names: metrics that were logged more than once.
    ///   - isCombined: related metrics share a chart, as the lines of one run can; else each has its own.
    static func sections(_ names: [String], isCombined: Bool) -> [Section] {
        var left = OrderedSet(names.filter { !isNoCurve($0) })
        var plans: [ChartPlan] = []
        if isCombined {
            plans += families(&left, prefix: "")
            plans += families(&left, prefix: "eval_")
        }
        while let name = left.first {
            left.remove(name)
            var plan = ChartPlan(title: name, lines: [Line(metric: name, label: name)])
            if isCombined, !name.hasPrefix("eval_"), left.remove("eval_" + name) != nil {
                plan.lines = [
                    Line(metric: name, label: "training"),
                    Line(metric: "eval_" + name, label: "held out"),
                ]
            }
            plans.append(plan)
        }
        let order = Dictionary(
            names.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
        // What is held out follows what it is held out of.
        func place(_ plan: ChartPlan) -> (Int, Int, Int) {
            let base = plan.first.hasPrefix("eval_") ? String(plan.first.dropFirst(5)) : plan.first
            let own = order[plan.first] ?? 0
            let rank = telling.firstIndex(of: base) ?? telling.count
            return base == plan.first ? (rank, own, 0) : (rank, order[base] ?? own, 1)
        }
        plans.sort { place($0) < place($1) }
        return headings.compactMap { heading in
            let own = plans.filter { section(of: $0.first) == heading }
            return own.isEmpty ? nil : Section(title: heading, plans: own)
        }
    }

    /// The metrics that tell most, in this order.
    static let telling = [
        "reward", "rewards/accuracies", "loss", "objective/kl", "kl", "entropy",
        "completions/mean_length", "mean_token_accuracy",
    ]

    private var first: String { lines.first?.metric ?? title }

    // MARK: - Headings

    private static let headings = [
        "Loss", "Rewards", "KL and entropy", "Completions", "The objective's own", "Optimizer",
        "Time and memory",
    ]

    private static func isNoCurve(_ name: String) -> Bool {
        ["epoch", "eval_epoch", "step", "total_flos"].contains(name) || name.hasPrefix("train_")
    }

    private static func section(of metric: String) -> String {
        let name = metric.hasPrefix("eval_") ? String(metric.dropFirst(5)) : metric
        let last = name.split(separator: "/").last.map(String.init) ?? name
        let starts = { (all: [String]) in all.contains { name.hasPrefix($0) } }
        if starts(["perf/", "reward_calls/", "memory"]) || name.hasSuffix("runtime")
            || name.hasSuffix("_per_second")
        {
            return "Time and memory"
        }
        if ["learning_rate", "grad_norm", "num_tokens"].contains(name) || starts(["optimizer/"])
            || last.hasPrefix("lr") || last.hasSuffix("grad_norm")
        {
            return "Optimizer"
        }
        if starts(["completions/"]) || name == "res_len" { return "Completions" }
        if name == "loss" || last.contains("loss") || last == "mean_token_accuracy" {
            return "Loss"
        }
        if starts(["reward/", "rewards/"]) || name == "reward" || name.hasPrefix("reward_")
            || name == "frac_reward_zero_std" || last == "scores"
        {
            return "Rewards"
        }
        let words = last.split { "_-".contains($0) }
        if words.contains("kl") || words.contains("entropy") || words.contains("ppl") {
            return "KL and entropy"
        }
        return "The objective's own"
    }

    // MARK: - Families

    /// Takes what belongs together out of the names: two sides, quantiles, lengths, rewards, times.
    private static func families(_ left: inout OrderedSet<String>, prefix: String) -> [ChartPlan] {
        var plans: [ChartPlan] = []
        let heading = prefix.isEmpty ? "" : "held out: "
        func take(_ title: String, _ lines: [(String, String)], band: (String, String)? = nil) {
            let needed = lines.map(\.0) + (band.map { [$0.0, $0.1] } ?? [])
            guard needed.allSatisfy({ left.contains(prefix + $0) }) else { return }
            for name in needed { left.remove(prefix + name) }
            plans.append(
                ChartPlan(
                    title: heading + title,
                    lines: lines.map { Line(metric: prefix + $0.0, label: $0.1) },
                    band: band.map { Line.Ends(low: prefix + $0.0, high: prefix + $0.1) }))
        }
        let own = left.filter { $0.hasPrefix("eval_") != prefix.isEmpty && $0.hasPrefix(prefix) }
            .map { String($0.dropFirst(prefix.count)) }
        for name in own where name.hasSuffix("/chosen") {
            let base = String(name.dropLast(7))
            take(base, [(name, "chosen"), (base + "/rejected", "rejected")])
        }
        take(
            "reward: median, 10 % to 90 %", [("reward/p50", "median")],
            band: ("reward/p10", "reward/p90"))
        for name in own where name.hasSuffix("_p50") {
            let base = String(name.dropLast(4))
            take(
                "\(base): median, 25 % to 75 %", [(name, "median")],
                band: (base + "_p25", base + "_p75"))
        }
        for kind in ["", "terminated_"] {
            take(
                kind.isEmpty ? "length, shortest to longest" : "length of finished ones",
                [("completions/mean_\(kind)length", "mean")],
                band: ("completions/min_\(kind)length", "completions/max_\(kind)length"))
        }
        let rewards = own.filter { $0.hasPrefix("rewards/") && $0.hasSuffix("/mean") }
        if rewards.count > 1 {
            take("rewards by plugin", rewards.map { ($0, String($0.dropFirst(8).dropLast(5))) })
        }
        let times = own.filter { $0.hasPrefix("perf/") && $0.hasSuffix("_s") }
        if times.count > 1 {
            take("seconds per step", times.map { ($0, String($0.dropFirst(5).dropLast(2))) })
        }
        return plans
    }
}
