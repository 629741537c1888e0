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
                  keel config show samples/dpo/config.json
                  keel config show samples/dpo/config.json --set train.max_steps=10
                """)

        @OptionGroup var source: RunOptions
        @OptionGroup var global: GlobalOptions

        func run() throws {
            print(try source.load().config.json.text(pretty: true))
        }
    }
}
