import ArgumentParser
import KeelHost

struct Generate: KeelCommand {
    static let configuration = CommandConfiguration(
        abstract: "Continues prompts.",
        discussion: """
            EXAMPLES
              keel generate --model runs/dpo --prompt "Once upon a time" --max-new-tokens 50
              keel generate --model DIR --prompts prompts.jsonl --n 4 --json > completions.jsonl
              keel generate --model DIR --chat --system "You are brief."
              keel generate --model DIR --prompts prompts.jsonl --n 16 --rewards rewards.json --keep best --json
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

    @Flag(
        help:
            "Put texts into the model's chat template; without a prompt, talk, or answer standard input."
    )
    var chat = false

    @Option(help: ArgumentHelp("The system message of --chat.", valueName: "TEXT"))
    var system: String?

    @Option(help: ArgumentHelp("The token sampler; plain sampling if left out.", valueName: "NAME"))
    var sampler: String?

    @Option(help: ArgumentHelp("The sampler's parameters, a JSON object.", valueName: "JSON"))
    var samplerParams: String?

    @Option(help: ArgumentHelp("Divides the logits.", valueName: "X"))
    var temperature = 1.0

    @Option(help: ArgumentHelp("Most tokens of a completion.", valueName: "N"))
    var maxNewTokens = 128

    @Option(help: ArgumentHelp("Tokens before which a completion does not end.", valueName: "N"))
    var minNewTokens = 0

    @Option(
        parsing: .singleValue,
        help: ArgumentHelp(
            "Ends a completion in front of this text; may be repeated.", valueName: "TEXT"))
    var stop: [String] = []

    @Option(
        parsing: .singleValue,
        help: ArgumentHelp(
            "One more token that ends a text; may be repeated.", valueName: "ID|TOKEN"))
    var eos: [String] = []

    @Flag(help: "Go on after the model's own end-of-text tokens.")
    var ignoreEos = false

    @Option(help: ArgumentHelp("Fixes every random draw.", valueName: "N"))
    var seed: UInt64 = 0

    @Option(
        name: .customLong("n"), help: ArgumentHelp("Completions of each prompt.", valueName: "K"))
    var count = 1

    @Option(help: ArgumentHelp("Completions generated at once.", valueName: "N"))
    var batchSize = 32

    @Option(
        help: ArgumentHelp(
            "Tokens kept in the cache; as many as are needed if left out.", valueName: "N"))
    var cacheTokens: Int?

    @Option(
        help: ArgumentHelp("Scores completions with the rewards of a config.", valueName: "CONFIG"),
        completion: .file(extensions: ["json"]))
    var rewards: String?

    @Option(
        help: ArgumentHelp("Which completions of a prompt --rewards prints.", valueName: "best|all")
    )
    var keep: GenerateCommand.Keep?

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
        try check("--max-new-tokens", maxNewTokens, 1...1_000_000_000)
        try check("--min-new-tokens", minNewTokens, 0...1_000_000_000)
        try check("--n", count, 1...1_000_000)
        try check("--batch-size", batchSize, 1...65536)
        try check("--cache-tokens", cacheTokens, 1...1_000_000_000)
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
        options.minNewTokens = minNewTokens
        options.ignoreEOS = ignoreEos
        options.eos = eos
        options.stop = stop
        options.isChat = chat
        options.system = system
        options.batchSize = batchSize
        options.cacheTokens = cacheTokens
        options.rewardsPath = rewards
        options.keep = keep
        options.adapter = adapter.adapter
        options.dtype = compute.dtype.tensorType
        options.threads = compute.threads
        options.seed = seed
        options.count = count
        options.json = json
        options.pluginPaths = plugins.paths
        try GenerateCommand.run(options, progress: global.progress).finish()
    }
}

extension GenerateCommand.Keep: ExpressibleByArgument {}
