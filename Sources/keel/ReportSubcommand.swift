import ArgumentParser
import KeelCore
import KeelHost

struct ReportSubcommand: KeelCommand {
    static let configuration = CommandConfiguration(
        commandName: "report",
        abstract: "Shows what runs have done: a page, or charts of metrics.",
        discussion: """
            Writes one HTML page that needs nothing else: what the runs were, evaluations, curves, rewards, samples, and what
            looks wrong. Of one run it goes to report.html in its folder; of several --out says where.

            With --svg a chart is drawn instead. It has a panel for each --metric and a line for each run. With --group runs that differ only in their
            seed (or that have the same --label) become one line, their mean, in a band. --table draws the rows of a small
            CSV, JSON or JSONL file with their intervals instead (columns NAME, NAME_low, NAME_high).

            EXAMPLES
              keel report runs/dpo
              keel report runs/sft runs/dpo runs/rloo --out compared.html
              keel report runs/dpo --metric loss --metric rewards/margins --svg dpo.svg
              keel report runs/ppo-1 runs/ppo-2 runs/ppo-3 --group --metric reward --smooth 9 --svg reward.svg
              keel report --table methods.csv --metric reward --metric win_rate --svg methods.svg
            """)

    @Argument(
        help: ArgumentHelp(
            "Folders of runs, files of metrics (JSONL), or trainer_state.json files.",
            valueName: "RUN"),
        completion: .directory)
    var runs: [String] = []

    @Option(
        help: ArgumentHelp(
            "A metric to draw, as in metrics.jsonl; may be repeated.", valueName: "NAME"))
    var metric: [String] = []

    @Option(help: ArgumentHelp("Write a chart to this file.", valueName: "FILE"))
    var svg: String?

    @Option(
        help: ArgumentHelp(
            "Where the page goes; default: report.html in the run's folder.", valueName: "FILE"))
    var out: String?

    @Option(
        help: ArgumentHelp("Draw a table of values instead of runs.", valueName: "FILE"),
        completion: .file(extensions: ["csv", "json", "jsonl"]))
    var table: String?

    @Option(
        help: ArgumentHelp(
            "What a run is called, once for each; default: its folder.", valueName: "TEXT"))
    var label: [String] = []

    @Flag(help: "Make runs that differ only in the seed, or have one label, one line in a band.")
    var group = false

    @Option(
        help: ArgumentHelp(
            "The band of a group: its range, or the standard deviation or error around its mean.",
            valueName: ReportCommand.bands.joined(separator: "|")))
    var band = "range"

    @Option(
        help: ArgumentHelp(
            "Draw the mean of N neighbouring log lines; in a page the default depends on their number.",
            valueName: "N"))
    var smooth: Int?

    @Option(help: ArgumentHelp("The metric of the x axis, such as num_tokens.", valueName: "NAME"))
    var x = "step"

    @Flag(help: "Make the x axis logarithmic.")
    var logX = false

    @Flag(help: "Make the y axis logarithmic.")
    var logY = false

    @Option(
        parsing: .unconditional, help: ArgumentHelp("The low end of the y axis.", valueName: "X"))
    var yMin: Double?

    @Option(
        parsing: .unconditional, help: ArgumentHelp("The high end of the y axis.", valueName: "X"))
    var yMax: Double?

    @Option(
        name: .customLong("line"), parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            "A value to compare with, drawn across its panel or all; may be repeated.",
            valueName: "[METRIC=]VALUE[:LABEL]"))
    var lines: [String] = []

    @Option(help: ArgumentHelp("A title for the whole chart.", valueName: "TEXT"))
    var title = ""

    @Option(help: ArgumentHelp("The size of a panel in pixels.", valueName: "WxH"))
    var size = "560x300"

    @Option(help: ArgumentHelp("Panels beside each other.", valueName: "N"))
    var columns = 3

    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if let smooth, smooth < 1 { throw ValidationError("--smooth takes 1 or more.") }
        if columns < 1 { throw ValidationError("--columns takes 1 or more.") }
        if !ReportCommand.bands.contains(band) {
            throw ValidationError(
                "--band is one of \(ReportCommand.bands.joined(separator: ", ")).")
        }
        if let yMin, let yMax, yMin >= yMax { throw ValidationError("--y-min is below --y-max.") }
        if panelSize == nil {
            throw ValidationError("--size takes two numbers from 120 to 4000, as in 560x300.")
        }
        if runs.isEmpty == (table == nil) { throw ValidationError("Give runs, or --table FILE.") }
        if svg != nil, out != nil { throw ValidationError("--svg and --out exclude each other.") }
        if svg == nil, table != nil || !metric.isEmpty {
            throw ValidationError("--metric and --table draw a chart: give --svg FILE.")
        }
        if svg != nil, table == nil, metric.isEmpty {
            throw ValidationError("--svg needs --metric NAME, or --table FILE.")
        }
    }

    private var panelSize: (width: Double, height: Double)? {
        let parts = size.split(separator: "x").compactMap { Int($0) }
        guard parts.count == 2, parts.allSatisfy((120...4000).contains) else { return nil }
        return (Double(parts[0]), Double(parts[1]))
    }

    func run() throws {
        if let svg {
            try ReportCommand.writeChart(chart, to: svg)
            return
        }
        var options = ReportCommand.PageOptions()
        options.runs = runs
        options.labels = label
        options.title = title
        options.isGrouped = group
        options.band = band
        options.smoothing = smooth
        options.x = x
        print(try ReportCommand.writePage(options, to: out))
    }

    private var chart: ReportCommand.ChartOptions {
        var options = ReportCommand.ChartOptions()
        options.runs = runs
        options.table = table
        options.labels = label
        options.metrics = metric
        options.title = title
        options.isGrouped = group
        options.band = band
        options.smoothing = smooth ?? 1
        options.x = x
        options.isLogX = logX
        options.isLogY = logY
        options.yLow = yMin
        options.yHigh = yMax
        options.references = lines
        options.columns = columns
        if let panelSize { (options.width, options.height) = panelSize }
        return options
    }
}
