import ArgumentParser
import KeelCore
import KeelHost

struct DataCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "data", abstract: "Shows what a run makes of its data.",
        subcommands: [Inspect.self])

    struct Inspect: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows rows with what is trained of them, lengths, and rows left out.",
            discussion: """
                Tokenises the data of a config as train does; loads no model. What is trained is green, or stands
                between [[ and ]].

                EXAMPLES
                  keel data inspect samples/dpo/config.json
                  keel data inspect samples/dpo/config.json --rows 1 --json
                """)

        @Argument(
            help: ArgumentHelp("The run's config, JSON with comments.", valueName: "CONFIG"),
            completion: .file(extensions: ["json"]))
        var config: String

        @Option(
            name: .customLong("set"),
            help: ArgumentHelp(
                "Replaces a key of the config; may be repeated.", valueName: "KEY=VALUE"))
        var overrides: [String] = []

        @Option(help: ArgumentHelp("Rows to show.", valueName: "N"))
        var rows = 3

        @Flag(help: "The held-out rows instead of those to train on.")
        var valid = false

        @Option(
            help: ArgumentHelp(
                "The phase whose rows are shown; default: the first.", valueName: "NAME"))
        var phase: String?

        @Flag(help: "Print a JSON object.")
        var json = false

        @OptionGroup var plugins: PluginOptions
        @OptionGroup var global: GlobalOptions

        func validate() throws {
            if rows < 0 { throw ValidationError("--rows must be 0 or more.") }
        }

        func run() throws {
            var options = DataInspect.Options(config: config)
            options.overrides = overrides
            options.rows = rows
            options.isValid = valid
            options.phase = phase
            let report = try DataInspect(options, catalog: plugins.catalog)
            let terminal = Terminal(color: global.color, output: 1)
            print(json ? report.json.text() : report.text(hasColor: terminal.hasColor))
        }
    }
}
