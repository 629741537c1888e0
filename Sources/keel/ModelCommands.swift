import ArgumentParser
import KeelCore
import KeelHost

struct ModelCommands: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "model", abstract: "Describes and makes model folders.",
        subcommands: [Info.self, Init.self, Merge.self, Export.self])

    struct Info: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract: "Prints what a Hugging Face model folder holds.",
            discussion: """
                EXAMPLES
                  keel model info DIR
                """)

        @Argument(help: ArgumentHelp("The folder.", valueName: "DIR"), completion: .directory)
        var folder: String

        @Flag(help: "Print a JSON object.")
        var json = false

        @OptionGroup var global: GlobalOptions

        func run() throws {
            let report = try ModelCommand.info(folder)
            print(json ? report.json.text() : report.text)
        }
    }

    struct Init: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract: "Makes a model folder with new, random weights.",
            discussion: """
                EXAMPLES
                  keel model init --config config.json --tokenizer tokenizer.json --seed 1 OUT
                """)

        @Option(
            help: ArgumentHelp("A Hugging Face config.json.", valueName: "FILE"),
            completion: .file(extensions: ["json"]))
        var config: String

        @Option(
            help: ArgumentHelp("A tokenizer.json, or the folder with one.", valueName: "FILE"),
            completion: .file(extensions: ["json"]))
        var tokenizer: String

        @Option(help: ArgumentHelp("Of the weights.", valueName: "N"))
        var seed: UInt64

        @Argument(help: ArgumentHelp("The new folder.", valueName: "OUT"), completion: .directory)
        var out: String

        @OptionGroup var global: GlobalOptions

        func run() throws {
            try ModelCommand.initialise(config: config, tokenizer: tokenizer, seed: seed, out: out)
            Log.info("wrote \(out)")
        }
    }

    struct Merge: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract: "Makes a model folder with an adapter's changes in the weights.",
            discussion: """
                EXAMPLES
                  keel model merge runs/lora merged
                  keel model merge runs/lora merged --base models/base
                """)

        @Argument(
            help: ArgumentHelp("A PEFT folder with a LoRA adapter.", valueName: "ADAPTER"),
            completion: .directory)
        var adapter: String

        @Argument(help: ArgumentHelp("The new folder.", valueName: "OUT"), completion: .directory)
        var out: String

        @Option(
            help: ArgumentHelp(
                "The model the adapter belongs to; the one its config names if left out.",
                valueName: "DIR"), completion: .directory)
        var base: String?

        @OptionGroup var global: GlobalOptions

        func run() throws {
            try ModelCommand.merge(adapter: adapter, base: base, out: out)
            Log.info("wrote \(out)")
        }
    }

    struct Export: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract: "Writes a model as one file of another format.",
            discussion: """
                GGUF is what llama.cpp and the programs around it load: weights, tokenizer and chat template in
                one file. Merge an adapter first: keel model merge.

                EXAMPLES
                  keel model export --gguf policy.gguf runs/dpo
                  keel model export --gguf policy.gguf --dtype f16 runs/dpo
                """)

        @Option(
            help: ArgumentHelp("The new GGUF file.", valueName: "OUT"),
            completion: .file(extensions: ["gguf"]))
        var gguf: String

        @Option(
            help: ArgumentHelp(
                "How matrices are stored: f32, f16 or bf16; as the model is stored if left out.",
                valueName: "TYPE"))
        var dtype: String?

        @Argument(help: ArgumentHelp("The model folder.", valueName: "DIR"), completion: .directory)
        var folder: String

        @OptionGroup var global: GlobalOptions

        func run() throws {
            try ModelCommand.export(folder, gguf: gguf, dtype: dtype)
            Log.info("wrote \(gguf)")
        }
    }
}
