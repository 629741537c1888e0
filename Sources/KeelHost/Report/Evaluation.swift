import KeelCore

/// A result of `keel eval` that lies in a run's folder as `eval*.json`.
struct Evaluation {
    /// The run, and the file where a run has several.
    let label: String
    let report: JSON
    /// The colour of the run.
    let color: Int

    /// Those of some runs; a file that cannot be read is left out, with a remark that names it.
    ///
    /// - Throws: `KeelError` (io) for a folder that cannot be listed.
    static func load(
        _ groups: [RunGroup]
    ) throws -> (found: [Evaluation], remarks: [String]) {
        let runs = groups.enumerated().flatMap { index, group in group.runs.map { (index, $0) } }
        var remarks: [String] = []
        let evaluations = try runs.flatMap { color, run -> [Evaluation] in
            guard Files.isDirectory(run.path) else { return [] }
            let files = try Files.list(run.path).filter {
                $0.hasPrefix("eval") && $0.hasSuffix(".json")
            }
            let found = files.compactMap { name -> (String, JSON)? in
                let path = Files.join(run.path, name)
                let report: JSON
                do {
                    report = try JSON.parse(try Files.read(path), name: path)
                } catch {
                    let what = (error as? KeelError)?.what ?? "\(error)"
                    remarks.append("\(path) was left out, it cannot be read: \(what).")
                    return nil
                }
                return report["model"]?["reward"] == nil && report["model"]?["length_tokens"] == nil
                    ? nil : (String(name.dropLast(5)), report)
            }
            return found.map { name, report in
                Evaluation(
                    label: found.count > 1 ? "\(run.label), \(name)" : run.label, report: report,
                    color: color)
            }
        }
        return (evaluations, remarks)
    }

    /// A model of an evaluation: a column of the table.
    private struct Column {
        var label: String
        var summary: JSON
        /// The evaluation whose subject it is; nil for what was compared with.
        var own: JSON?
        var color: Int
    }

    /// Grey, for models that are no run's.
    private static let otherColor = 6

    /// The models compared with first, each once, then the runs'.
    private static func columns(_ all: [Evaluation]) -> [Column] {
        var columns: [Column] = []
        for evaluation in all {
            guard let other = evaluation.report["against"],
                !columns.contains(where: { $0.summary == other })
            else { continue }
            let name = other["name"]?.string ?? Files.name(other["path"]?.string ?? "?")
            columns.append(Column(label: name, summary: other, own: nil, color: otherColor))
        }
        for evaluation in all {
            guard let summary = evaluation.report["model"] else { continue }
            columns.append(
                Column(
                    label: evaluation.label, summary: summary, own: evaluation.report,
                    color: evaluation.color))
        }
        return columns
    }

    /// The part of the page: a plot, and a table with all numbers.
    static func html(_ all: [Evaluation]) -> String {
        guard !all.isEmpty else { return "" }
        let columns = columns(all)
        var cards = ""
        func dots(_ title: String, _ name: String, _ rows: [DotPlot.Row], half: Bool = false) {
            guard rows.contains(where: { $0.value != nil }) else { return }
            var plot = DotPlot(title: title, rows: rows.filter { $0.value != nil })
            if half { plot.references = [(0.5, "even")] }
            var figure = Figure(panels: [.dots(plot)])
            figure.width = 430
            cards += "<figure class=\"card\">\n\(figure.svg(name: name, isFile: false))</figure>\n"
        }
        dots(
            "mean reward", "e0",
            columns.map { column in
                DotPlot.Row(
                    label: column.label, color: column.color, value: value(column.summary, "reward")
                )
            })
        dots(
            "win rate", "e1",
            columns.compactMap { column in
                column.own.map {
                    DotPlot.Row(
                        label: column.label, color: column.color, value: value($0, "win_rate"))
                }
            }, half: true)
        return (cards.isEmpty ? "" : "<div class=\"cards\">\n\(cards)</div>\n") + table(columns)
            + all.compactMap(about).reduce(into: [String]()) {
                if !$0.contains($1) { $0.append($1) }
            }
            .joined()
    }

    private static func value(
        _ report: JSON, _ key: String, _ interval: JSON? = nil
    ) -> DotPlot.Value? {
        guard let value = report[key]?.double else { return nil }
        let interval = interval ?? report["\(key)_interval_95"]
        return DotPlot.Value(value: value, low: interval?[0]?.double, high: interval?[1]?.double)
    }

    private static func table(_ columns: [Column]) -> String {
        func cell(_ report: JSON?, _ key: String, _ interval: JSON? = nil) -> String {
            guard let found = report.flatMap({ value($0, key, interval) }) else {
                return "\u{2013}"
            }
            let text = Markup.escape(Scale.plain(found.value))
            guard let low = found.low, let high = found.high else { return text }
            let interval = "[\(Scale.plain(low, digits: 3)), \(Scale.plain(high, digits: 3))]"
            return "\(text) <span class=\"iv\">\(Markup.escape(interval))</span>"
        }
        var rows: [[String]] = []
        func add(_ name: String, _ cells: [String]) {
            if cells.contains(where: { $0 != "\u{2013}" }) {
                rows.append([Markup.escape(name)] + cells)
            }
        }
        add("reward", columns.map { cell($0.summary, "reward") })
        var rewards: [String] = []
        for column in columns {
            for name in column.summary["rewards"]?.object?.keys ?? []
            where !rewards.contains(name) {
                rewards.append(name)
            }
        }
        for name in rewards {
            add(
                "reward, \(name)",
                columns.map {
                    cell($0.summary["rewards"], name, $0.summary["rewards_interval_95"]?[name])
                })
        }
        add("win rate", columns.map { cell($0.own, "win_rate") })
        add("ties", columns.map { cell($0.own, "ties") })
        add("reward less that of the other", columns.map { cell($0.own, "reward_difference") })
        add("KL to the other, nats", columns.map { cell($0.own, "kl") })
        var keys: [String] = []
        for column in columns {
            for (key, value) in column.summary.object ?? JSONObject()
            where value.double != nil && key != "reward" && !keys.contains(key) {
                keys.append(key)
            }
        }
        for key in keys {
            add(names[key] ?? key.replacing("_", with: " "), columns.map { cell($0.summary, key) })
        }
        return ReportPage.table(head: [""] + columns.map { Markup.escape($0.label) }, rows: rows)
    }

    /// What numbers are called that their keys do not say.
    private static let names = [
        "kl": "KL to the reference, nats", "kl_per_token": "KL per token",
        "length_tokens": "length, tokens", "finished": "ended by itself",
        "perplexity": "perplexity of the data", "perplexity_chosen": "perplexity, chosen",
        "perplexity_rejected": "perplexity, rejected",
    ]

    private static func about(_ evaluation: Evaluation) -> String? {
        let report = evaluation.report
        guard let rows = report["rows"]?.int else { return nil }
        let n = report["n"]?.int ?? 1
        let each = n == 1 ? "one completion" : "\(n) completions"
        let judge =
            report["judge"]?.string.map { " Wins are judged by the \($0); a tie is half a win." }
            ?? ""
        return
            "<p class=\"iv\">\(rows) prompts, \(each) each; brackets: 95 % bootstrap intervals over the prompts."
            + "\(Markup.escape(judge))</p>\n"
    }
}
