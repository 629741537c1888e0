import ArgumentParser
import KeelCore
import KeelHost

struct RewardCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reward", abstract: "Tries rewards on data.", subcommands: [Try.self])

    struct Try: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract:
                "Scores a data file: distribution, timings, agreement with labels; no model needed."
        )

        @Argument(
            help: ArgumentHelp("A reward's name or the path of a plugin.", valueName: "PLUGIN"))
        var plugin: String

        @Option(
            help: ArgumentHelp(
                "Rows with `completion`, or with `chosen` and `rejected`.", valueName: "FILE.jsonl"),
            completion: .file())
        var data: String

        @Option(help: ArgumentHelp("Parameters, a JSON object.", valueName: "JSON"))
        var params: String?

        @Option(help: ArgumentHelp("Score the first N rows only.", valueName: "N"))
        var limit: Int?

        @Flag(help: "Print a JSON object with every score.")
        var json = false

        @OptionGroup var plugins: PluginOptions
        @OptionGroup var global: GlobalOptions

        func validate() throws {
            if let limit, limit < 1 { throw ValidationError("--limit must be at least 1.") }
        }

        func run() throws {
            let params = try jsonObject(params, option: "--params")
            let report = try RewardTry(
                plugin: plugin, data: data, params: params, limit: limit, catalog: plugins.catalog)
            print(json ? report.json.text() : report.text)
            for warning in report.warnings { Log.warning(warning) }
        }
    }
}
