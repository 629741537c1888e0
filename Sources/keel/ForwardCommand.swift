import ArgumentParser
import KeelHost
import KeelTensor

struct Forward: KeelCommand {
    static let configuration = CommandConfiguration(
        abstract: "Computes log-probs, losses and gradients, one JSON value per line.",
        discussion: """
            A line of ids gives {"logprobs", "loss"}. With --grads a line is {"batch": [[ids]...],
            "prompt_len": [n...], "entries": {TENSOR: [indices]}, "adamw": {...}}; nothing is written.

            EXAMPLES
              echo '[1, 306, 626]' | keel forward --model DIR --last-logits
              keel forward --model DIR --grads < batches.jsonl
            """)

    @OptionGroup var model: ModelOption
    @OptionGroup var adapter: AdapterOption
    @OptionGroup var compute: ComputeOptions

    @Flag(help: "Report the logits after the last token.")
    var lastLogits = false

    @Flag(help: "Lines are batches; report loss and gradients.")
    var grads = false

    @OptionGroup var global: GlobalOptions

    func run() throws {
        var options = ForwardCommand.Options(model: try model.checked())
        options.adapter = adapter.adapter
        options.dtype = compute.dtype.tensorType
        options.threads = compute.threads
        options.lastLogits = lastLogits
        options.grads = grads
        try ForwardCommand.run(options).finish()
    }
}

/// Which adapter changes the model.
struct AdapterOption: ParsableArguments {
    @Option(
        help: ArgumentHelp("A PEFT folder with a LoRA adapter of the model.", valueName: "DIR"),
        completion: .directory)
    var adapter: String?
}

/// How a model computes.
struct ComputeOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Type of weights and activations.", valueName: "f32|bf16"))
    var dtype = DTypeChoice.f32

    @Option(help: ArgumentHelp("CPU threads; all cores if left out.", valueName: "N"))
    var threads: Int?

    func validate() throws {
        try check("--threads", threads, 1...4096)
    }
}

extension DTypeChoice: ExpressibleByArgument {
    /// The engine's type of this name.
    var tensorType: DType { self == .bf16 ? .bf16 : .f32 }
}
