import ArgumentParser
import Glibc
import KeelCore
import KeelHost

struct TrainSubcommand: KeelCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Trains a model as a config says.",
        discussion: """
            Everything is checked before anything is written. SIGINT and SIGTERM save a checkpoint and exit with 75;
            a second one exits at once.

            EXAMPLES
              keel train samples/dpo/config.json
              keel train samples/dpo/config.json --set train.learning_rate=1e-5 --output-dir runs/lr1e-5
              keel train samples/dpo/config.json --resume auto
            """)

    @OptionGroup var source: RunOptions

    @Option(
        help: ArgumentHelp(
            "Where to go on: never, auto (the newest complete checkpoint, or the start), or a checkpoint's folder.",
            valueName: "never|auto|CHECKPOINT"))
    var resume = "never"

    @Flag(help: "Discard the run that stands in the output folder.")
    var overwrite = false

    @Flag(help: "Go on although a plugin is not the file the run was made with.")
    var allowPluginChange = false

    @Option(
        help: ArgumentHelp(
            "Write what the run does when, for chrome://tracing or Perfetto.", valueName: "FILE"),
        completion: .file())
    var trace: String?

    @Option(
        help: ArgumentHelp(
            "As --trace, with the CPU time of every stage (products, attention, ...); prints a table at the end.",
            valueName: "FILE"),
        completion: .file())
    var profile: String?

    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if trace != nil, profile != nil {
            throw ValidationError("--profile writes the trace too: leave --trace out")
        }
    }

    func run() throws {
        var options = source.options
        options.resume = resume == "never" ? .never : resume == "auto" ? .auto : .checkpoint(resume)
        options.overwrite = overwrite
        options.allowPluginChange = allowPluginChange
        options.trace = profile ?? trace
        options.isProfiled = profile != nil
        options.end = { error in
            Keel.report(error)
            _exit(error.code.rawValue)
        }
        Signals.install()
        try TrainCommand.run(options, progress: global.progress).finish()
    }
}
