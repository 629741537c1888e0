import KeelBridge
import KeelCore

extension RewardTry.Entry {
    var all: [Double] { sides.flatMap(\.scores) }

    private var times: [Double] { sides.flatMap(\.milliseconds).sorted() }

    /// The share of the pairs with two scores in which the chosen answer got more.
    private var agreementRate: Double? {
        guard let agreement else { return nil }
        let total = agreement.higher + agreement.lower + agreement.equal
        return total == 0 ? .nan : Double(agreement.higher) / Double(total)
    }

    /// What looks wrong about the scores.
    var warnings: [String] {
        var out: [String] = []
        for side in sides {
            let missing = side.scores.lazy.filter(\.isNaN).count
            if missing > 0 {
                let first = side.scores.firstIndex(where: \.isNaN) ?? 0
                out.append(
                    "\(side.name): \(missing) of \(side.scores.count) rows got no score (NaN); the first is row \(first + 1)"
                )
            }
        }
        let scores = all.filter { !$0.isNaN }
        if let first = scores.first, scores.count > 1, scores.allSatisfy({ $0 == first }) {
            out.append(
                "every score is \(Parameter.brief(first)): a constant reward teaches nothing")
        }
        if let agreement, agreement.equal > 0, agreement.higher + agreement.lower == 0 {
            out.append("the reward never tells chosen from rejected")
        }
        if report.skipped > 0 {
            out.append(
                "\(report.skipped) rows failed (\(report.errors) errors, \(report.timeouts) timeouts)"
            )
        }
        return out
    }

    /// Scores, distribution, agreement, timings, metrics.
    var json: JSONObject {
        var object = JSONObject()
        for side in sides {
            object[sides.count == 1 ? "scores" : "\(side.name)_scores"] = .array(
                side.scores.map(JSON.double))
        }
        for side in sides {
            object[sides.count == 1 ? "distribution" : "\(side.name)_distribution"] = .object(
                JSONObject(pairs: Distribution(side.scores).facts.map { ($0.0, .double($0.1)) }))
        }
        if let agreement, let rate = agreementRate {
            object["agreement"] = [
                "rate": .double(rate), "chosen_higher": JSON(agreement.higher),
                "rejected_higher": JSON(agreement.lower), "equal": JSON(agreement.equal),
            ]
        }
        if !times.isEmpty {
            object["milliseconds"] = .object(
                JSONObject(pairs: timings.map { ($0.0, .double($0.1)) }))
        }
        object["metrics"] = PluginEval.json(metrics)
        return object
    }

    private var timings: [(String, Double)] {
        let times = times
        return [
            ("p50", Distribution.quantile(times, 0.5)), ("p95", Distribution.quantile(times, 0.95)),
            ("max", times.last ?? .nan), ("total", times.reduce(0, +)),
        ]
    }

    func lines(rows: Int, name: String?) -> [String] {
        var lines = ["\(name.map { "\($0): " } ?? "")\(title) on \(rows) rows"]
        let distributions = sides.map { ($0.name, Distribution($0.scores).facts) }
        if let first = distributions.first {
            lines += PluginReport.table(
                [[""] + first.1.map(\.0)]
                    + distributions.map { [$0.0] + $0.1.map { Parameter.brief($0.1) } })
        }
        lines += Distribution.histogram(all)
        if let agreement, let rate = agreementRate {
            lines.append(
                "agrees with the label on \(Parameter.brief(100 * rate))% of pairs"
                    + " (chosen higher \(agreement.higher), rejected higher \(agreement.lower), equal \(agreement.equal))"
            )
        }
        if !times.isEmpty {
            lines.append(
                "milliseconds per row: "
                    + timings.map { "\($0.0) \(Parameter.brief($0.1))" }.joined(separator: ", "))
        }
        for (name, value) in metrics.values {
            lines.append("metric \(name): \(Parameter.brief(value))")
        }
        return lines
    }
}

extension RewardTry {
    /// What looks wrong about the scores; of several rewards with their names.
    package var warnings: [String] {
        guard let combined else { return entries.flatMap(\.warnings) }
        return (entries + [combined]).flatMap { entry in
            entry.warnings.map { "\(entry.name): \($0)" }
        }
    }

    /// One reward: its figures; several: a list of them, and those of their combination.
    package var json: JSON {
        var object = JSONObject()
        if let combined {
            object["rows"] = JSON(rows)
            object["rewards"] = .array(
                entries.map { entry in
                    var one: JSONObject = ["name": .string(entry.name)]
                    for (key, value) in entry.json { one[key] = value }
                    return .object(one)
                })
            object["combined"] = .object(combined.json)
        } else if let entry = entries.first {
            object = ["plugin": .string(entry.name), "rows": JSON(rows)]
            for (key, value) in entry.json { object[key] = value }
        }
        object["warnings"] = .array(warnings.map(JSON.string))
        return .object(object)
    }

    package var text: String {
        guard let combined else {
            return entries.flatMap { $0.lines(rows: rows, name: nil) }.joined(separator: "\n")
        }
        let blocks =
            entries.map { $0.lines(rows: rows, name: $0.name) }
            + [combined.lines(rows: rows, name: nil)]
        return blocks.map { $0.joined(separator: "\n") }.joined(separator: "\n\n")
    }
}
