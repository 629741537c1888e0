import ArgumentParser
import KeelCore
import KeelHost

struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Describes and resolves run configs.",
        subcommands: [Schema.self, Show.self])

    struct Schema: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract: "Prints the JSON Schema of a config.",
            discussion: """
                EXAMPLES
                  keel config schema > keel.schema.json
                  keel config schema --markdown > docs/config.md
                """)

        @Flag(help: "Print the page for people instead.")
        var markdown = false

        @OptionGroup var global: GlobalOptions

        func run() throws {
            print(
                markdown ? ConfigSchema.markdown : ConfigSchema.json.text(pretty: true) + "\n",
                terminator: "")
        }
    }

    struct Show: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract: "Prints a config as a run would use it: defaults filled in, paths absolute.",
            discussion: """
                EXAMPLES
                  keel config show samples/dpo.json
                  keel config show samples/dpo.json --set train.max_steps=10
                """)

        @OptionGroup var config: ConfigOptions
        @OptionGroup var global: GlobalOptions

        func run() throws {
            print(try config.load().config.json.text(pretty: true))
        }
    }
}

/// A config file and what the command line changes in it.
struct ConfigOptions: ParsableArguments {
    @Argument(
        help: ArgumentHelp("The config file.", valueName: "CONFIG"),
        completion: .file(extensions: ["json"]))
    var config: String

    @Option(
        name: .customLong("set"),
        help: ArgumentHelp("Change a key: train.learning_rate=1e-5.", valueName: "KEY=VALUE"))
    var overrides: [String] = []

    @Option(
        help: ArgumentHelp("Replaces the config's output_dir.", valueName: "DIR"),
        completion: .directory)
    var outputDir: String?

    @OptionGroup var plugins: PluginOptions

    /// - Throws: everything that is wrong with the config, at once.
    func load() throws -> (config: RunConfig, plugins: RunPlugins) {
        try RunConfig.load(
            config, overrides: overrides, outputDir: outputDir, catalog: plugins.catalog)
    }
}
