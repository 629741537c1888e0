import ArgumentParser
import KeelCore
import KeelHost

struct CheckSubcommand: KeelCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Checks all that train would check, and rehearses two steps.",
        discussion: """
            Loads config, plugins, data and model, makes two optimizer steps in memory and reports what they cost.
            Writes nothing but the token cache.

            EXAMPLES
              keel check samples/dpo/config.json
              keel check samples/dpo/config.json --no-rehearsal --json
            """)

    @OptionGroup var source: RunOptions

    @Flag(help: "Leave the two steps out.")
    var noRehearsal = false

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var global: GlobalOptions

    func run() throws {
        let report = try CheckCommand.run(source.options, rehearse: !noRehearsal)
        print(json ? report.text() : CheckCommand.table(report))
    }
}
