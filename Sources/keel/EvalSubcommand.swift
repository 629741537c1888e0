import ArgumentParser
import KeelCore
import KeelHost

struct EvalSubcommand: KeelCommand {
    static let configuration = CommandConfiguration(
        commandName: "eval",
        abstract: "Measures a model's completions: rewards, win rate, KL, length, variety.",
        discussion: """
            Both models complete every prompt of the data with the same random draws. The judge of a win is the combined
            reward; intervals are bootstrap intervals over the prompts, of 95 %, paired where two models are compared. Rows with
            answers of their own also give their perplexity.

            EXAMPLES
              keel eval --model runs/dpo --data prompts.jsonl --rewards samples/rloo/config.json
              keel eval --model runs/dpo --against samples/model --data prompts.jsonl --rewards rewards.json --out runs/dpo/eval.json
              keel eval --model runs/lora --reference models/base --data pairs.jsonl
            """)

    @Option(
        help: ArgumentHelp("The model's folder, or an adapter's.", valueName: "DIR"),
        completion: .directory)
    var model: String

    @OptionGroup var adapter: AdapterOption

    @Option(
        help: ArgumentHelp(
            "The model to compare with: its folder, or an adapter's.", valueName: "DIR"),
        completion: .directory)
    var against: String?

    @Option(
        help: ArgumentHelp("The model to measure the KL to.", valueName: "DIR"),
        completion: .directory)
    var reference: String?

    @Option(
        help: ArgumentHelp("Rows with prompts (or texts), JSONL.", valueName: "FILE"),
        completion: .file())
    var data: String

    @Option(
        help: ArgumentHelp("A config whose rewards (and sampler) are used.", valueName: "CONFIG"),
        completion: .file())
    var rewards: String?

    @Option(
        help: ArgumentHelp(
            "Tokens of a completion at most; default: as in the config, or 128.", valueName: "N"))
    var maxNewTokens: Int?

    @Option(help: ArgumentHelp("Rows used, from the start of the file.", valueName: "N"))
    var rows: Int?

    @Option(
        name: .customLong("n"), help: ArgumentHelp("Completions of each prompt.", valueName: "K"))
    var count = 1

    @Option(help: "Fixes the random draws.")
    var seed: UInt64 = 0

    @Option(
        help: ArgumentHelp(
            "Also write the result here; keel report shows eval*.json of a run's folder.",
            valueName: "FILE"), completion: .file(extensions: ["json"]))
    var out: String?

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var compute: ComputeOptions
    @OptionGroup var plugins: PluginOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        try check("--max-new-tokens", maxNewTokens, 1...1_000_000_000)
        if let rows, rows < 1 { throw ValidationError("--rows takes 1 or more.") }
        try check("--n", count, 1...1_000_000)
    }

    func run() throws {
        var options = EvalCommand.Options(model: model, data: data)
        options.adapter = adapter.adapter
        options.against = against
        options.reference = reference
        options.rewardsPath = rewards
        options.out = out
        options.pluginPaths = plugins.paths
        options.maxNewTokens = maxNewTokens
        options.rows = rows
        options.count = count
        options.seed = seed
        options.dtype = compute.dtype.tensorType
        options.threads = compute.threads
        let report = try EvalCommand.run(
            options, progress: global.progress.terminal.isInteractive ? global.progress : nil)
        print(json ? report.text() : EvalTable(report).text)
    }
}
