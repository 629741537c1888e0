import KeelCore

extension ReportPage {
    /// A table of cells that are markup already.
    static func table(head: [String], rows: [[String]], numbers from: Int = 1) -> String {
        let cell = { (index: Int) in index >= from ? " class=\"n\"" : "" }
        let top = head.enumerated().map { "<th\(cell($0))>\($1)</th>" }.joined()
        let body = rows.map { row in
            "<tr>"
                + row.enumerated().map {
                    $0 == 0 ? "<th>\($1)</th>" : "<td\(cell($0))>\($1)</td>"
                }.joined() + "</tr>\n"
        }
        return "<div class=\"scroll\"><table><thead><tr>\(top)</tr></thead><tbody>\n"
            + body.joined() + "</tbody></table></div>\n"
    }

    // MARK: - Rewards

    /// What each reward plugin gave, and how its calls went.
    func rewardTables() -> String {
        var out = ""
        for run in runs {
            let rows = RewardTable(run).rows
            guard !rows.isEmpty else { continue }
            if runs.count > 1 { out += "<h3>\(Markup.escape(run.label))</h3>\n" }
            func number(_ value: Double?, digits: Int = 4) -> String {
                value.map { Markup.escape(Scale.plain($0, digits: digits)) } ?? "\u{2013}"
            }
            func count(_ value: Double) -> String {
                value > 0 ? "<b>\(Scale.plain(value))</b>" : "0"
            }
            out += ReportPage.table(
                head: [
                    "reward", "plugin", "weight", "mean, first", "mean, last", "std", "weighted",
                    "errors", "timeouts", "skipped", "restarts", "p50 ms", "p95 ms",
                ],
                rows: rows.map { row in
                    [
                        Markup.escape(row.name),
                        Markup.escape(Files.name(row.plugin ?? "\u{2013}")),
                        number(row.weight), number(row.first), number(row.last),
                        number(row.deviation), number(row.weighted), count(row.errors),
                        count(row.timeouts), count(row.skipped), count(row.restarts),
                        number(row.p50, digits: 3), number(row.p95, digits: 3),
                    ]
                }, numbers: 2)
        }
        guard !out.isEmpty else { return "" }
        return out
            + "<p class=\"iv\">First, last: of the log. Errors, timeouts, skipped rows and restarts: sums over the run. "
            + "p50: mean of the steps' medians; p95: the largest of the steps.</p>\n"
    }

    // MARK: - Last values

    /// Every metric's last value, a column for each run.
    func lastValues() -> String {
        var names: [String] = []
        for run in runs {
            for name in run.metrics.names where !names.contains(name) { names.append(name) }
        }
        let first = ReportPage.telling.filter(names.contains)
        func rows(_ names: [String]) -> [[String]] {
            names.map { name in
                [Markup.escape(name)]
                    + runs.map { run in
                        run.metrics.last(name).map { Markup.escape(Scale.plain($0, digits: 5)) }
                            ?? "\u{2013}"
                    }
            }
        }
        let head = ["metric"] + runs.map { Markup.escape($0.label) }
        let steps = [["step"] + runs.map { $0.metrics.lastStep.map(String.init) ?? "\u{2013}" }]
        let rest = names.filter { !first.contains($0) }
        return ReportPage.table(head: head, rows: steps + rows(first))
            + "<details><summary>all \(names.count) metrics</summary>\n"
            + ReportPage.table(head: head, rows: rows(rest)) + "</details>\n"
    }

    // MARK: - Facts

    /// What the runs were: build, model, data, plugins with hashes, config; of several what differs.
    func facts() -> String {
        runs.contains { $0.manifest != nil }
            ? runs.count == 1 ? factsOfOne(runs[0]) : differences() + factsOfEach() : ""
    }

    private func factsOfOne(_ run: RunRecord) -> String {
        guard let manifest = run.manifest else { return "" }
        var rows: [[String]] = []
        func add(_ name: String, _ value: JSON?, hash: JSON? = nil) {
            guard let text = value.flatMap(ReportPage.plain) else { return }
            let more = hash?.string.map {
                "<br><span class=\"hash\">sha256 \(Markup.escape($0))</span>"
            }
            rows.append([name, Markup.escape(text) + (more ?? "")])
        }
        let config = manifest["config"]
        add("objective", config?["objective"]?["plugin"])
        add("parameters", config?["objective"]?["params"])
        add("model", manifest["model"]?["path"], hash: manifest["model"]?["sha256"])
        for (name, entry) in manifest["data"]?.object ?? JSONObject() {
            add("data, \(Markup.escape(name))", config?["data"]?[name], hash: entry["sha256"])
            for (key, value) in entry.object ?? JSONObject() where key != "sha256" {
                add(
                    "\(Markup.escape(name)), \(Markup.escape(key.replacing("_", with: " ")))", value
                )
            }
        }
        add("seed", manifest["seed"])
        add("steps", manifest["total_steps"])
        add("build", manifest["keel"])
        add("kernels", manifest["kernels"])
        if manifest["replayable"]?.bool == false {
            add("same bits again", "no: a plugin is not deterministic")
        }
        let plugins = (manifest["plugins"]?.array ?? []).map { plugin in
            ["instance", "name", "version", "path", "sha256"].map { key in
                let text = Markup.escape(plugin[key]?.string ?? "")
                return key == "sha256" || key == "path"
                    ? "<span class=\"hash\">\(text)</span>" : text
            }
        }
        var out = ReportPage.table(head: ["", ""], rows: rows, numbers: 9)
        if !plugins.isEmpty {
            out += "<h3>Plugins</h3>\n"
            out += ReportPage.table(
                head: ["used as", "name", "version", "file", "sha256"], rows: plugins, numbers: 9)
        }
        if let config {
            out += "<details><summary>the whole config</summary>\n"
            out += "<pre>\(Markup.escape(config.text(pretty: true)))</pre></details>\n"
        }
        return out
    }

    private func factsOfEach() -> String {
        runs.filter { $0.manifest != nil }.map { run in
            "<details><summary><b>\(Markup.escape(run.label))</b>: \(Markup.escape(run.path))</summary>\n"
                + factsOfOne(run) + "</details>\n"
        }.joined()
    }

    /// The keys of the configs that are not the same in all runs.
    private func differences() -> String {
        let flat = runs.map { run in
            run.manifest?["config"].map { ReportPage.flatten($0) } ?? [:]
        }
        var keys: [String] = []
        for run in runs {
            for (key, _) in ReportPage.leaves(run.manifest?["config"] ?? .null)
            where !keys.contains(key) {
                keys.append(key)
            }
        }
        let rows = keys.compactMap { key -> [String]? in
            let values = flat.map { $0[key] }
            guard key != "output_dir", Set(values).count > 1 else { return nil }
            return [Markup.escape(key)] + values.map { Markup.escape($0 ?? "\u{2013}") }
        }
        guard !rows.isEmpty else { return "<p>The configs are the same.</p>\n" }
        return "<h3>What differs in the configs</h3>\n"
            + ReportPage.table(
                head: ["key"] + runs.map { Markup.escape($0.label) }, rows: rows, numbers: 99)
    }

    private static func flatten(_ value: JSON) -> [String: String] {
        Dictionary(leaves(value), uniquingKeysWith: { $1 })
    }

    /// The plain values of a config with their paths: `train.seed`.
    private static func leaves(_ value: JSON, at path: String = "") -> [(String, String)] {
        if let object = value.object, !object.isEmpty {
            return object.pairs.flatMap {
                leaves($0.value, at: path.isEmpty ? $0.key : "\(path).\($0.key)")
            }
        }
        if let array = value.array, array.contains(where: { $0.object != nil }) {
            return array.enumerated().flatMap { leaves($1, at: "\(path)[\($0)]") }
        }
        return path.isEmpty ? [] : [(path, plain(value) ?? "null")]
    }

    /// A value as people write it; nil for what says nothing.
    private static func plain(_ value: JSON) -> String? {
        switch value {
        case .null: nil
        case .string(let text): text
        case .double(let number): number.text(digits: 6)
        case .object(let object):
            object.isEmpty
                ? nil
                : object.pairs.map { "\($0.key) \(plain($0.value) ?? "null")" }.joined(
                    separator: ", ")
        default: value.text()
        }
    }
}
