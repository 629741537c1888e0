import KeelCore

/// The result of `keel eval` for people: a line per number, a column per model.
package struct EvalTable {
    private let report: JSON
    private let models: [JSON]

    package init(_ report: JSON) {
        self.report = report
        models = ["model", "against"].compactMap { report[$0] }
    }

    /// Rows of cells, and sentences below.
    package var text: String {
        let table = ([[""] + models.map { $0["name"]?.string ?? "" }] + rows)
        let widths = table[0].indices.map { column in
            table.map { $0[column].unicodeScalars.count }.max() ?? 0
        }
        let lines = table.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                line += cell
                line += String(
                    repeating: " ", count: widths[column] - cell.unicodeScalars.count + 3)
            }
            while line.hasSuffix(" ") { line.removeLast() }
            return line
        }
        return (lines + (remarks.isEmpty ? [] : [""]) + remarks).joined(separator: "\n")
    }

    private func number(_ value: JSON?) -> String { value?.double?.text() ?? "" }

    /// A number and, where there is one, its interval.
    private func value(_ object: JSON?, _ key: String, interval: JSON? = nil) -> String {
        let text = number(object?[key])
        let interval = interval ?? object?["\(key)_interval_95"]
        guard let low = interval?[0]?.double, let high = interval?[1]?.double else { return text }
        return "\(text) [\(low.text(digits: 3)), \(high.text(digits: 3))]"
    }

    private var rows: [[String]] {
        var rows: [[String]] = []
        func add(_ name: String, _ cells: [String]) {
            if cells.contains(where: { !$0.isEmpty }) { rows.append([name] + cells) }
        }
        func add(_ name: String, _ key: String) { add(name, models.map { value($0, key) }) }
        add("reward", "reward")
        for name in models.first?["rewards"]?.object?.keys ?? [] {
            add(
                "  \(name)",
                models.map {
                    value($0["rewards"], name, interval: $0["rewards_interval_95"]?[name])
                })
        }
        add("without reward", "without_reward")
        add("KL to reference, nats", "kl")
        add("  per token", "kl_per_token")
        add("length, tokens", "length_tokens")
        add("ended by itself", "finished")
        for n in 1...3 { add("distinct-\(n), corpus", "distinct_\(n)_corpus") }
        for n in 1...3 { add("distinct-\(n), per word", "distinct_\(n)_per_word") }
        add("perplexity of the data", "perplexity")
        add("perplexity, chosen", "perplexity_chosen")
        add("perplexity, rejected", "perplexity_rejected")
        return rows
    }

    private var remarks: [String] {
        var lines: [String] = []
        if report["win_rate"] != nil {
            lines.append(
                "wins \(value(report, "win_rate")), ties \(number(report["ties"])) (half a win each), "
                    + "reward +\(value(report, "reward_difference"))".replacing("+-", with: "-"))
        }
        if report["against"] != nil, report["kl"]?.double != nil {
            lines.append(
                "KL to \(models.last?["name"]?.string ?? ""): \(value(report, "kl")) nats a completion, "
                    + "\(number(report["kl_per_token"])) a token")
        }
        if let rows = report["rows"]?.int {
            let n = report["n"]?.int ?? 1
            lines.append(
                "\(rows) prompts, \(n == 1 ? "one completion" : "\(n) completions") each at temperature "
                    + "\(number(report["temperature"])); intervals: bootstrap over the prompts, 95 %"
            )
        }
        if let judge = report["judge"]?.string { lines.append("judge: \(judge)") }
        return lines
    }
}
