import KeelBridge
import KeelCore
import KeelData

/// `keel reward try`: what a reward makes of a data file, without any model.
package struct RewardTry {
    /// One side of the rows: the completions, or the chosen or rejected answers.
    struct Side {
        var name: String
        var scores: [Float]
        var milliseconds: [Double]
    }

    package let component: Component
    private var sides: [Side] = []
    private var rows = 0
    private var metrics = MetricSums()
    /// How often the chosen answer got more, less or as much as the rejected one; nil for single completions.
    private var agreement: (higher: Int, lower: Int, equal: Int)?

    /// Scores `completion`, else both sides of each pair.
    ///
    /// - Throws: `KeelError` about the plugin, its parameters or the data.
    package init(
        plugin: String, data: String, params: JSONObject, limit: Int? = nil, catalog: PluginCatalog
    ) throws {
        component = try catalog.find(plugin, kind: .reward)
        let parameters = try component.validate(params: params, place: "--params")
        let reader = try JSONLReader(data)
        let first = reader.count > 0 ? try reader.json(0) : .null
        let isPairs = first["completion"] == nil && first["chosen"] != nil
        let dataset = try Dataset.load(
            path: data, wanted: isPairs ? .preference : .promptCompletion)
        let reward = try InProcessReward(component, catalog: catalog, parameters: parameters)
        // One row per call, so that each row has its own time; coupled rewards see all rows at once.
        reward.rowsPerCall = 1
        rows = min(limit ?? dataset.count, dataset.count)
        let texts = try (0..<rows).map { try dataset.texts($0) }
        let names = isPairs ? ["chosen", "rejected"] : ["completion"]
        for (number, name) in names.enumerated() {
            var batch: [RewardRow] = []
            for (index, text) in texts.enumerated() {
                let response = number < text.completions.count ? text.completions[number] : ""
                batch.append(
                    RewardRow(
                        id: UInt64(index), prompt: Array((text.prompt ?? "").utf8),
                        response: Array(response.utf8),
                        row: dataset.row(index), group: Int32(clamping: index)))
            }
            try reward.submit(batch, context: CallContext())
            let scores = try reward.collect()
            sides.append(
                Side(
                    name: name, scores: scores.map(\.value),
                    milliseconds: scores.map(\.milliseconds)))
            metrics.merge(reward.takeMetrics())
        }
        if isPairs {
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

    private var all: [Double] { sides.flatMap { $0.scores.map(PluginEval.decimal) } }
    private var times: [Double] { sides.flatMap(\.milliseconds).sorted() }

    /// The share of the pairs with two scores in which the chosen answer got more.
    private var agreementRate: Double? {
        guard let agreement else { return nil }
        let total = agreement.higher + agreement.lower + agreement.equal
        return total == 0 ? .nan : Double(agreement.higher) / Double(total)
    }

    /// What looks wrong about the scores.
    package var warnings: [String] {
        var out: [String] = []
        for side in sides {
            let missing = side.scores.lazy.filter(\.isNaN).count
            if missing > 0 {
                let first = side.scores.firstIndex(where: \.isNaN) ?? 0
                out.append(
                    "\(side.name): \(missing) of \(rows) rows got no score (NaN); the first is row \(first + 1)"
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
        return out
    }

    // MARK: - Reports

    package var json: JSON {
        var object: JSONObject = ["plugin": .string(component.name), "rows": JSON(rows)]
        for side in sides {
            object[sides.count == 1 ? "scores" : "\(side.name)_scores"] = .array(
                side.scores.map { .double(PluginEval.decimal($0)) })
        }
        for side in sides {
            object[sides.count == 1 ? "distribution" : "\(side.name)_distribution"] = .object(
                JSONObject(
                    pairs: Distribution(side.scores.map(PluginEval.decimal)).facts.map {
                        ($0.0, .double($0.1))
                    }))
        }
        if let agreement, let rate = agreementRate {
            object["agreement"] = [
                "rate": .double(rate), "chosen_higher": JSON(agreement.higher),
                "rejected_higher": JSON(agreement.lower),
                "equal": JSON(agreement.equal),
            ]
        }
        object["milliseconds"] = .object(JSONObject(pairs: timings.map { ($0.0, .double($0.1)) }))
        object["metrics"] = PluginEval.json(metrics)
        object["warnings"] = .array(warnings.map(JSON.string))
        return .object(object)
    }

    private var timings: [(String, Double)] {
        let times = times
        return [
            ("p50", Distribution.quantile(times, 0.5)), ("p95", Distribution.quantile(times, 0.95)),
            ("max", times.last ?? .nan), ("total", times.reduce(0, +)),
        ]
    }

    package var text: String {
        var lines = ["\(component.title) on \(rows) rows"]
        let distributions = sides.map {
            ($0.name, Distribution($0.scores.map(PluginEval.decimal)).facts)
        }
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
        lines.append(
            "milliseconds per row: "
                + timings.map { "\($0.0) \(Parameter.brief($0.1))" }.joined(separator: ", "))
        for (name, value) in metrics.values {
            lines.append("metric \(name): \(Parameter.brief(value))")
        }
        return lines.joined(separator: "\n")
    }
}

/// Figures about a list of scores; NaN is counted apart.
struct Distribution {
    let facts: [(String, Double)]

    init(_ values: [Double]) {
        let sorted = values.filter { !$0.isNaN }.sorted()
        let mean = sorted.isEmpty ? .nan : sorted.reduce(0, +) / Double(sorted.count)
        let squares = sorted.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        facts = [
            ("scored", Double(sorted.count)), ("nan", Double(values.count - sorted.count)),
            ("mean", mean),
            ("std", sorted.count < 2 ? 0 : (squares / Double(sorted.count - 1)).squareRoot()),
            ("min", sorted.first ?? .nan), ("p5", Distribution.quantile(sorted, 0.05)),
            ("p50", Distribution.quantile(sorted, 0.5)),
            ("p95", Distribution.quantile(sorted, 0.95)),
            ("max", sorted.last ?? .nan),
        ]
    }

    /// The value at a share of a sorted list, between its neighbours.
    static func quantile(_ sorted: [Double], _ share: Double) -> Double {
        guard let last = sorted.last else { return .nan }
        let place = share * Double(sorted.count - 1)
        let low = Int(place)
        guard low + 1 < sorted.count else { return last }
        return sorted[low] + (place - Double(low)) * (sorted[low + 1] - sorted[low])
    }

    /// Ten bars over the range of the values; none when there is no range.
    static func histogram(_ values: [Double]) -> [String] {
        let numbers = values.filter(\.isFinite)
        guard let low = numbers.min(), let high = numbers.max(), low < high else { return [] }
        var counts = [Int](repeating: 0, count: 10)
        for value in numbers { counts[min(9, Int((value - low) / (high - low) * 10))] += 1 }
        let most = counts.max() ?? 1
        return PluginReport.table(
            counts.enumerated().map { index, count in
                [
                    Parameter.brief(low + (high - low) * Double(index) / 10), "\(count)",
                    String(repeating: "#", count: (40 * count + most - 1) / max(1, most)),
                ]
            })
    }
}

extension Parameter {
    /// Four significant figures.
    static func brief(_ value: Double) -> String {
        value.isFinite ? value.text(digits: 4) : value.description
    }
}
