import ArgumentParser
import KeelCore
import KeelHost

struct EvalSubcommand: KeelCommand {
    static let configuration = CommandConfiguration(
        commandName: "eval",
        abstract: "Measures a model's completions: rewards, win rate, KL, length, variety.",
        discussion: """
            Both models complete every prompt of the data once, with the same random draws. The judge of a win is the
            combined reward; intervals are paired bootstrap intervals of 95 %.

            EXAMPLES
              keel eval --model runs/dpo --data prompts.jsonl --rewards samples/rloo/config.json
              keel eval --model runs/dpo --against samples/model --data prompts.jsonl --rewards rewards.json --json
            """)

    @Option(help: ArgumentHelp("The model's folder.", valueName: "DIR"), completion: .directory)
    var model: String

    @Option(
        help: ArgumentHelp("The model to compare with.", valueName: "DIR"), completion: .directory)
    var against: String?

    @Option(help: ArgumentHelp("Rows with prompts, JSONL.", valueName: "FILE"), completion: .file())
    var data: String

    @Option(
        help: ArgumentHelp("A config whose rewards (and sampler) are used.", valueName: "CONFIG"),
        completion: .file())
    var rewards: String

    @Option(
        help: ArgumentHelp(
            "Tokens of a completion at most; default: as in the config, or 128.", valueName: "N"))
    var maxNewTokens: Int?

    @Option(help: ArgumentHelp("Rows used, from the start of the file.", valueName: "N"))
    var rows: Int?

    @Option(help: "Fixes the random draws.")
    var seed: UInt64 = 0

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var plugins: PluginOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if let maxNewTokens, maxNewTokens < 1 {
            throw ValidationError("--max-new-tokens takes 1 or more.")
        }
        if let rows, rows < 1 { throw ValidationError("--rows takes 1 or more.") }
    }

    func run() throws {
        var options = EvalCommand.Options(model: model, data: data, rewardsPath: rewards)
        options.against = against
        options.pluginPaths = plugins.paths
        options.maxNewTokens = maxNewTokens
        options.rows = rows
        options.seed = seed
        let report = try EvalCommand.run(options)
        print(json ? report.text() : EvalCommand.table(report))
    }
}
