import ArgumentParser
import KeelBridge
import KeelCore
import KeelHost

struct RewardCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reward", abstract: "Tries rewards on data, and labels data with them.",
        subcommands: [Try.self, Label.self])

    struct Try: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract:
                "Scores a data file: distribution, timings, agreement with labels.",
            discussion: """
                EXAMPLES
                  keel reward try length --data rows.jsonl --params '{"target": 80}'
                  keel reward try model --model reward-model --data pairs.jsonl
                  keel reward try --rewards config.json --data pairs.jsonl --json
                """)

        @Argument(
            help: ArgumentHelp("A reward's name or the path of a plugin.", valueName: "PLUGIN"))
        var plugin: String?

        @Option(
            help: ArgumentHelp(
                "Rows with `completion`, or with `chosen` and `rejected`.", valueName: "FILE.jsonl"),
            completion: .file())
        var data: String

        @Option(
            help: ArgumentHelp(
                "A config: all its `rewards`, and what `combine` makes of them.",
                valueName: "CONFIG"), completion: .file())
        var rewards: String?

        @Option(
            help: ArgumentHelp(
                "Instead of a plugin: a shared library, of which a C function is the reward.",
                valueName: "LIBRARY"), completion: .file())
        var native: String?

        @Option(help: ArgumentHelp("The function in the library.", valueName: "NAME"))
        var symbol: String?

        @Option(
            help: ArgumentHelp(
                "What the function returns and takes, as in f64(str response).",
                valueName: "SIGNATURE"))
        var signature: String?

        @Option(help: ArgumentHelp("Parameters, a JSON object.", valueName: "JSON"))
        var params: String?

        @Option(
            help: ArgumentHelp("The folder of the reward model.", valueName: "DIR"),
            completion: .directory)
        var model: String?

        @Option(
            help: ArgumentHelp("The folder of the judge.", valueName: "DIR"), completion: .directory
        )
        var judge: String?

        @Option(help: ArgumentHelp("Tokens of a judge's reply at most.", valueName: "N"))
        var maxNewTokens: Int?

        @Option(help: ArgumentHelp("Score the first N rows only.", valueName: "N"))
        var limit: Int?

        @Flag(help: "Print a JSON object with every score.")
        var json = false

        @OptionGroup var plugins: PluginOptions
        @OptionGroup var global: GlobalOptions

        func validate() throws {
            if let limit, limit < 1 { throw ValidationError("--limit must be at least 1.") }
            try check("--max-new-tokens", maxNewTokens, 1...1_000_000_000)
            guard [plugin, rewards, native].count(where: { $0 != nil }) == 1 else {
                throw ValidationError("Give a PLUGIN, --rewards CONFIG or --native LIBRARY.")
            }
            guard (native == nil) == (symbol == nil), (native == nil) == (signature == nil) else {
                throw ValidationError(
                    "--native LIBRARY, --symbol NAME and --signature SIGNATURE belong together.")
            }
            if native != nil, model != nil || judge != nil {
                throw ValidationError("--model and --judge belong to a PLUGIN.")
            }
            if rewards != nil, params != nil || model != nil || judge != nil {
                throw ValidationError("--params, --model and --judge belong to a PLUGIN.")
            }
        }

        func run() throws {
            var options = RewardTry.Options(data: data)
            options.plugin = plugin
            options.config = rewards
            if let native, let symbol, let signature {
                options.native = try NativeFunction(
                    library: native, symbol: symbol, signature: signature, place: "--signature")
            }
            options.params = try jsonObject(params, option: "--params")
            options.model = model
            options.judge = judge
            options.maxNewTokens = maxNewTokens
            options.limit = limit
            let report = try RewardTry(options, catalog: plugins.catalog)
            print(json ? report.json.text() : report.text)
            for warning in report.warnings { Log.warning(warning) }
        }
    }

    struct Label: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract: "Writes a data file again, with the rewards of its completions.",
            discussion: """
                EXAMPLES
                  keel reward label --data rows.jsonl --rewards config.json --out scored.jsonl
                """)

        @Option(
            help: ArgumentHelp(
                "Rows with `completion`, `chosen` and `rejected`, or `completions`.",
                valueName: "FILE.jsonl"), completion: .file())
        var data: String

        @Option(
            help: ArgumentHelp(
                "A config: its `rewards`, and what `combine` makes of them.", valueName: "CONFIG"),
            completion: .file())
        var rewards: String

        @Option(help: ArgumentHelp("The file to write.", valueName: "FILE.jsonl"))
        var out: String

        @Option(help: ArgumentHelp("The first N rows only.", valueName: "N"))
        var limit: Int?

        @Option(help: ArgumentHelp("Seeds rewards that draw.", valueName: "N"))
        var seed: UInt64 = 0

        @Option(help: ArgumentHelp("CPU threads; all cores by default.", valueName: "N"))
        var threads: Int?

        @Flag(help: "Print a JSON object.")
        var json = false

        @OptionGroup var plugins: PluginOptions
        @OptionGroup var global: GlobalOptions

        func validate() throws {
            if let limit, limit < 1 { throw ValidationError("--limit must be at least 1.") }
            try check("--threads", threads, 1...4096)
        }

        func run() throws {
            var options = RewardLabel.Options(data: data, rewards: rewards, out: out)
            options.limit = limit
            options.seed = seed
            options.threads = threads
            options.progress = { done, all in
                if done < all { Log.notice("\(done) of \(all) rows scored") }
            }
            let report = try RewardLabel.run(options, catalog: plugins.catalog)
            print(json ? report.text() : RewardLabel.table(report))
        }
    }
}
