import ArgumentParser
import KeelHost

struct Generate: KeelCommand {
    static let configuration = CommandConfiguration(
        abstract: "Continues prompts.",
        discussion: """
            EXAMPLES
              keel generate --model runs/dpo --prompt "Once upon a time" --max-new-tokens 50
              keel generate --model DIR --prompts prompts.jsonl --n 4 --json > completions.jsonl
              keel generate --model DIR --prompt "Hi" --sampler nucleus --sampler-params '{"top_p": 0.9}'
            """)

    @OptionGroup var model: ModelOption
    @OptionGroup var adapter: AdapterOption

    @Option(help: ArgumentHelp("One prompt.", valueName: "TEXT"))
    var prompt: String?

    @Option(
        help: ArgumentHelp("Rows with a prompt each.", valueName: "FILE.jsonl"),
        completion: .file(extensions: ["jsonl"]))
    var prompts: String?

    @Option(help: ArgumentHelp("One prompt as a list of token ids.", valueName: "JSON"))
    var promptIds: String?

    @Option(help: ArgumentHelp("The token sampler; plain sampling if left out.", valueName: "NAME"))
    var sampler: String?

    @Option(help: ArgumentHelp("The sampler's parameters, a JSON object.", valueName: "JSON"))
    var samplerParams: String?

    @Option(help: ArgumentHelp("Divides the logits.", valueName: "X"))
    var temperature = 1.0

    @Option(help: ArgumentHelp("Most tokens of a completion.", valueName: "N"))
    var maxNewTokens = 128

    @Flag(help: "Go on after the end-of-text token.")
    var ignoreEos = false

    @Option(help: ArgumentHelp("Fixes every random draw.", valueName: "N"))
    var seed: UInt64 = 0

    @Option(
        name: .customLong("n"), help: ArgumentHelp("Completions of each prompt.", valueName: "K"))
    var count = 1

    @Flag(help: "Print a JSON object per completion.")
    var json = false

    @OptionGroup var compute: ComputeOptions
    @OptionGroup var plugins: PluginOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if !(temperature > 0 && temperature.isFinite) {
            throw ValidationError(
                "--temperature must be above 0; for the likeliest token use --sampler greedy.")
        }
    }

    func run() throws {
        var options = GenerateCommand.Options(model: try model.checked())
        options.prompt = prompt
        options.promptsFile = prompts
        options.promptIDs = promptIds
        options.sampler = sampler
        options.samplerParams = samplerParams
        options.temperature = temperature
        options.maxNewTokens = maxNewTokens
        options.ignoreEOS = ignoreEos
        options.adapter = adapter.adapter
        options.dtype = compute.dtype.tensorType
        options.threads = compute.threads
        options.seed = seed
        options.count = count
        options.json = json
        options.pluginPaths = plugins.paths
        try GenerateCommand.run(options).finish()
    }
}
