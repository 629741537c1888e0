import KeelCore

/// `keel report`: pages and charts of what runs have done.
package enum ReportCommand {
    /// What a chart is made of.
    package struct ChartOptions: Sendable {
        package var runs: [String] = []
        /// A table of values instead of runs.
        package var table: String?
        package var labels: [String] = []
        /// A panel each.
        package var metrics: [String] = []
        package var title = ""
        package var isGrouped = false
        package var band = "range"
        package var smoothing = 1
        package var x = "step"
        package var isLogX = false
        package var isLogY = false
        package var yLow: Double?
        package var yHigh: Double?
        /// Lines to compare with, `[METRIC=]VALUE[:LABEL]`.
        package var references: [String] = []
        /// The size of a panel in pixels.
        package var width = 560.0
        package var height = 300.0
        /// Panels beside each other.
        package var columns = 3

        package init() {}
    }

    /// What a page is made of.
    package struct PageOptions: Sendable {
        package var runs: [String] = []
        package var labels: [String] = []
        package var title = ""
        package var isGrouped = false
        package var band = "range"
        /// Nil = as the number of log lines suggests.
        package var smoothing: Int?
        package var x = "step"

        package init() {}
    }

    /// Writes one HTML page.
    ///
    /// - Returns: the file's path.
    /// - Throws: `KeelError`: noInput and badData for runs, usage for an x axis that none of them has.
    package static func writePage(_ options: PageOptions, to path: String?) throws -> String {
        let out =
            try path
            ?? pagePath(options.runs)
        try AtomicWrite.file(out, try page(options))
        return out
    }

    /// Where a page goes that nobody named: into the folder of its one run.
    private static func pagePath(_ runs: [String]) throws -> String {
        guard runs.count == 1, Files.isDirectory(runs[0]) || !Files.exists(runs[0]) else {
            throw KeelError(
                "usage", "a page of several runs, or of a file, needs a name", at: "keel report",
                fix: "add --out report.html", code: .usage)
        }
        return Files.join(runs[0], "report.html")
    }

    static func page(_ options: PageOptions) throws -> String {
        let runs = try RunRecord.load(options.runs, labels: options.labels)
        if options.x != "step" {
            try check(
                [options.x], among: runs.flatMap(\.metrics.names),
                at: options.runs.joined(separator: ", "))
        }
        let groups =
            options.isGrouped
            ? RunGroup.bySeed(runs, isLabelled: !options.labels.isEmpty) : RunGroup.each(runs)
        let page = try ReportPage(
            runs: runs, groups: groups, title: options.title, smoothing: options.smoothing,
            band: RunChart.Band(rawValue: options.band) ?? .range, x: options.x)
        for remark in page.leftOut { Log.warning(remark) }
        return page.html()
    }

    package static let bands = RunChart.Band.allCases.map(\.rawValue)

    /// Writes one SVG file.
    ///
    /// - Throws: `KeelError`: noInput and badData for runs and tables, usage for metrics that none of them has.
    package static func writeChart(_ options: ChartOptions, to path: String) throws {
        let svg = try chart(options)
        try AtomicWrite.file(path, svg)
    }

    static func chart(_ options: ChartOptions) throws -> String {
        var figure = Figure(title: options.title)
        figure.width = options.width
        figure.height = options.height
        figure.columns = options.columns
        if let table = options.table {
            let values = try ValueTable(table)
            let names = options.metrics.isEmpty ? values.names : options.metrics
            try check(names, among: values.names, at: table)
            let band = RunChart.Band(rawValue: options.band) ?? .range
            figure.panels = try names.map { name in
                var plot = values.plot(name, band: band)
                plot.isLog = options.isLogX
                plot.references = try references(options, for: name)
                return .dots(plot)
            }
            if values.hasRepeats {
                figure.note =
                    "Points: means of the rows of one name, which stand behind them. Intervals: \(band.text)."
            }
            return figure.svg()
        }
        let runs = try RunRecord.load(options.runs, labels: options.labels)
        var maker = RunChart(
            groups: options.isGrouped
                ? RunGroup.bySeed(runs, isLabelled: !options.labels.isEmpty) : RunGroup.each(runs))
        maker.band = RunChart.Band(rawValue: options.band) ?? .range
        maker.smoothing = options.smoothing
        maker.x = options.x
        let known = runs.flatMap(\.metrics.names)
        let place = options.runs.joined(separator: ", ")
        if options.x != "step" { try check([options.x], among: known, at: place) }
        try check(options.metrics, among: known, at: place)
        figure.panels = try options.metrics.map { metric in
            var chart = maker.chart(metric)
            guard !chart.series.isEmpty else {
                throw KeelError(
                    "report", "\"\(metric)\" and \"\(options.x)\" are never logged together",
                    at: place, fix: "choose another --x, such as step", code: .usage)
            }
            chart.isLogX = options.isLogX
            chart.isLogY = options.isLogY
            chart.yLow = options.yLow
            chart.yHigh = options.yHigh
            chart.references = try references(options, for: metric)
            if runs.count == 1, options.x == "step" { chart.marks = runs[0].phaseMarks }
            return .lines(chart)
        }
        figure.note = maker.note
        return figure.svg()
    }

    private static func check(_ names: [String], among known: [String], at place: String) throws {
        try KeelErrors(
            names.filter { !known.contains($0) }.map { name in
                let all = Set(known).sorted()
                let near = nearest(name, among: all).map { "did you mean \"\($0)\"? " } ?? ""
                return KeelError(
                    "report", "there is no metric \"\(name)\"", at: place,
                    fix: near + "there are: \(all.joined(separator: ", "))", code: .usage)
            }
        ).throwIfAny()
    }

    /// The lines that a metric's panel has.
    private static func references(
        _ options: ChartOptions, for metric: String
    ) throws -> [(value: Double, label: String)] {
        try options.references.compactMap { text in
            var rest = Substring(text)
            var own: Substring?
            if let equals = text.firstIndex(of: "=") {
                own = text[..<equals]
                rest = text[text.index(after: equals)...]
            }
            let parts = rest.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard let value = Double(parts[0]), value.isFinite,
                own.map({ options.metrics.contains(String($0)) }) ?? true
            else {
                throw KeelError(
                    "usage", "\"\(text)\" is no line to compare with", at: "--line",
                    fix: "write [METRIC=]VALUE[:LABEL] with a metric that is drawn: "
                        + "--line \"reward=0.99:best of 64\"",
                    code: .usage)
            }
            guard own.map({ $0 == metric }) ?? true else { return nil }
            return (value, parts.count > 1 ? String(parts[1]) : Scale.plain(value))
        }
    }
}

extension RunRecord {
    /// Where the phases of a run begin; none for a run of one phase.
    var phaseMarks: [(x: Double, label: String)] {
        let phases = metrics.phases
        return phases.count > 1 ? phases.map { (Double($0.step), $0.name) } : []
    }
}
