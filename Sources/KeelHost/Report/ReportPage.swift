import KeelCore

/// One self-contained HTML page about one run, or several compared.
struct ReportPage {
    let runs: [RunRecord]
    /// The lines of the charts.
    let groups: [RunGroup]
    /// Log lines averaged for a line; nil = as many as the number of log lines suggests.
    let smoothing: Int?
    let band: RunChart.Band
    let x: String
    let title: String
    private let samples: [SampleLog]
    private let evaluations: [Evaluation]
    /// What was left out of the page.
    let leftOut: [String]

    /// Reads what the page needs beside the metrics.
    ///
    /// - Throws: `KeelError` for samples that cannot be read.
    init(
        runs: [RunRecord], groups: [RunGroup], title: String = "", smoothing: Int? = nil,
        band: RunChart.Band = .range, x: String = "step"
    ) throws {
        self.runs = runs
        self.groups = groups
        self.smoothing = smoothing
        self.band = band
        self.x = x
        self.title =
            title.isEmpty
            ? runs.count == 1 ? runs[0].label : "\(runs.count) runs compared" : title
        let isFew = runs.count > 2
        samples = try runs.map { run in
            try SampleLog(
                Files.join(run.path, "samples.jsonl"), steps: isFew ? 2 : 8, most: isFew ? 4 : 8)
        }
        (evaluations, leftOut) = try Evaluation.load(groups)
    }

    /// The whole page.
    func html() -> String {
        var parts: [(id: String, title: String, html: String)] = []
        func add(_ id: String, _ title: String, _ html: String) {
            if !html.isEmpty { parts.append((id, title, html)) }
        }
        add("evaluation", "Evaluation", Evaluation.html(evaluations))
        let curves = curves()
        for (index, section) in curves.enumerated() {
            add("curves-\(index)", section.title, section.html)
        }
        add("rewards", "Reward plugins", rewardTables())
        add("samples", "Samples", sampleLists())
        add("numbers", "Last values", lastValues())
        add("run", runs.count == 1 ? "The run" : "The runs", facts())

        let links = parts.map { "<a href=\"#\($0.id)\">\(Markup.escape($0.title))</a>" }
        let body = parts.map {
            "<section id=\"\($0.id)\">\n<h2>\(Markup.escape($0.title))</h2>\n\($0.html)</section>\n"
        }
        return """
            <!doctype html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width,initial-scale=1">
            <meta http-equiv="Content-Security-Policy" content="\(PageStyle.policy)">
            <meta name="generator" content="keel \(Markup.escape(Build.version))">
            <title>\(Markup.escape(title))</title>
            <style>
            \(PageStyle.css)\(PageStyle.swatches)\(ChartStyle.css)</style>
            </head>
            <body>
            <header class="top"><div>
            <h1>\(Markup.escape(title))\(chip())</h1>
            <p class="sub">\(subtitle())</p>
            <nav>\(links.joined())</nav>
            </div></header>
            <main>
            \(tiles())\(remarks())\(body.joined())<footer>Written by keel report \(Markup.escape(Build.version)) from \(runs.map { "<code>\(Markup.escape($0.path))</code>" }.joined(separator: ", ")). Nothing on this page comes from elsewhere.</footer>
            </main>
            <script>\(PageStyle.script)</script>
            </body>
            </html>

            """
    }

    // MARK: - The head

    private func chip() -> String {
        guard runs.count == 1 else { return "" }
        switch RunFindings(runs[0]).status {
        case .finished: return "<span class=\"chip good\">finished</span>"
        case .unfinished(let step, let total):
            return "<span class=\"chip warn\">step \(step)\(total.map { " of \($0)" } ?? "")</span>"
        case .unknown: return ""
        }
    }

    private func subtitle() -> String {
        if runs.count > 1 {
            return groups.enumerated().map { index, group in
                let count = group.runs.count > 1 ? " (\(group.runs.count) runs)" : ""
                return "\(swatch(index))\(Markup.escape(group.label))\(count)"
            }.joined(separator: " &nbsp; ")
        }
        guard let config = runs[0].manifest?["config"] else { return Markup.escape(runs[0].path) }
        var parts: [String] = []
        if let name = config["objective"]?["plugin"]?.string { parts.append("objective \(name)") }
        if let path = config["model"]?["path"]?.string { parts.append("model \(Files.name(path))") }
        if let path = config["data"]?["train"]?.string { parts.append("data \(Files.name(path))") }
        if let seed = config["train"]?["seed"]?.int { parts.append("seed \(seed)") }
        return Markup.escape(parts.joined(separator: " \u{B7} "))
    }

    func swatch(_ color: Int) -> String {
        "<span class=\"swatch c\(color % ChartStyle.colors)\"></span>"
    }

    /// The metrics that tell most, each followed by what was held out of it.
    static let telling = ChartPlan.telling.flatMap { [$0, "eval_" + $0] }

    private func tiles() -> String {
        guard runs.count == 1 else { return "" }
        let metrics = runs[0].metrics
        var tiles: [String] = []
        for name in ReportPage.telling where tiles.count < 10 {
            guard let column = metrics.columns[name], let last = metrics.last(name) else {
                continue
            }
            let first = column.values.first { $0.isFinite } ?? last
            let from = column.values.count > 1 ? "from \(Scale.plain(first))" : "measured once"
            tiles.append(tile(name, Scale.plain(last), from))
        }
        if let seconds = metrics.last("train_runtime") {
            let steps = metrics.last("train_steps_per_second").map {
                "\(Scale.plain($0, digits: 3)) steps/s"
            }
            tiles.append(tile("time", Progress.duration(seconds), steps ?? ""))
        }
        if let tokens = metrics.last("num_tokens") {
            tiles.append(tile("tokens", Scale.plain(tokens), "trained on"))
        }
        return tiles.isEmpty ? "" : "<div class=\"tiles\">\n\(tiles.joined())</div>\n"
    }

    private func tile(_ name: String, _ value: String, _ more: String) -> String {
        "<div class=\"tile\"><span>\(Markup.escape(name))</span><b>\(Markup.escape(value))</b>"
            + "<small>\(Markup.escape(more))</small></div>\n"
    }

    private func remarks() -> String {
        var items: [String] = []
        for (run, log) in zip(runs, samples) {
            var own = RunFindings(run).remarks
            if log.isTorn { own.append("The last line of samples.jsonl is torn; it was left out.") }
            let name = runs.count > 1 ? "<b>\(Markup.escape(run.label))</b>: " : ""
            items += own.map { "<li>\(name)\(Markup.escape($0))</li>\n" }
        }
        items += leftOut.map { "<li>\(Markup.escape($0))</li>\n" }
        return items.isEmpty ? "" : "<div class=\"remarks\"><ul>\n\(items.joined())</ul></div>\n"
    }

    // MARK: - Samples

    private func sampleLists() -> String {
        zip(runs, samples).filter { !$1.steps.isEmpty }.map { run, log in
            var out = runs.count > 1 ? "<h3>\(Markup.escape(run.label))</h3>\n" : ""
            if log.stepCount > log.steps.count {
                out += "<p class=\"sub\">\(log.steps.count) of \(log.stepCount) logged steps.</p>\n"
            }
            for (index, step) in log.steps.enumerated() {
                // The last ones are what a reader wants first.
                let isOpen = index == log.steps.count - 1 || log.steps.count == 1
                let rewards = step.entries.compactMap(\.reward)
                let mean =
                    rewards.isEmpty
                    ? "" : ", mean reward \(Scale.plain(Statistics.mean(rewards), digits: 3))"
                let left = step.left > 0 ? " of \(step.entries.count + step.left)" : ""
                out +=
                    "<details\(isOpen ? " open" : "")><summary><b>step \(step.step)</b>: "
                    + "\(step.entries.count)\(left) completions\(mean)</summary>\n"
                out += step.entries.map(sample).joined() + "</details>\n"
            }
            return out
        }.joined()
    }

    private func sample(_ entry: SampleLog.Entry) -> String {
        var facts = entry.reward.map { "<b>\(Scale.plain($0))</b><br>" } ?? ""
        for part in entry.parts {
            let value = part.value.map { Scale.plain($0) } ?? "no opinion"
            facts += "\(Markup.escape(part.name)) \(value)<br>"
        }
        if entry.ending == "length" { facts += "cut at the length limit" }
        return "<div class=\"sample\"><div class=\"p\">\(ReportPage.text(entry.prompt))</div>"
            + "<div>\(ReportPage.text(entry.completion))</div><div class=\"r\">\(facts)</div></div>\n"
    }

    /// Foreign text, cut where it gets long.
    static func text(_ text: String, limit: Int = 4_000) -> String {
        guard text.unicodeScalars.count > limit else { return Markup.escape(text) }
        let head = String(String.UnicodeScalarView(text.unicodeScalars.prefix(limit)))
        return Markup.escape(head)
            + " <i>\u{2026} (\(text.unicodeScalars.count - limit) more characters)</i>"
    }
}
