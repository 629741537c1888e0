import ArgumentParser
import KeelBridge
import KeelCore
import KeelHost

struct PluginCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plugin",
        abstract: "Lists, explains, builds and tries plugins.",
        subcommands: [Eval.self])

    struct Eval: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract: "Runs a plugin on a batch of numbers and texts, as a training step does.",
            discussion: """
                A batch is {"rows": B, "columns": {NAME: {"shape": [...], "data": [...]}}, "text": {...}}.
                With --batch - every line of standard input is one batch.
                """)

        @Argument(help: ArgumentHelp("A component's name or the path of a plugin.", valueName: "PLUGIN"))
        var plugin: String

        @Option(help: ArgumentHelp("The batch; - reads one from each line of standard input.", valueName: "FILE|-"))
        var batch: String

        @Option(help: ArgumentHelp("Parameters, a JSON object.", valueName: "JSON"))
        var params: String?

        @Option(help: ArgumentHelp("The objective's phase.", valueName: "NAME"))
        var phase: String?

        @Flag(help: "Report gradients of the columns that were given.")
        var grad = false

        @Option(help: "What formulas compute in.")
        var dtype = MathDType.f32

        @Option(help: ArgumentHelp("How losses become one number.", valueName: "NAME"))
        var reduction: String?

        @Option(help: ArgumentHelp("The denominator of the reduction \"constant\".", valueName: "X"))
        var reductionConstant: Double?

        @Flag(help: "Leave `prepare` out: the columns it gives come with the batch.")
        var noPrepare = false

        @OptionGroup var plugins: PluginOptions
        @OptionGroup var global: GlobalOptions

        func run() throws {
            var options = PluginEval.Options()
            options.params = try jsonObject(params, option: "--params")
            options.phase = phase
            options.gradients = grad
            options.precision = dtype == .f64 ? .f64 : .f32
            options.reduction = reduction
            options.reductionConstant = reductionConstant
            options.runsPrepare = !noPrepare
            try PluginEval(plugin: plugin, options: options, catalog: plugins.catalog).run(batch: batch).finish()
        }
    }
}

/// The two types that numeric checks run in.
enum MathDType: String, CaseIterable, ExpressibleByArgument { case f32, f64 }

/// The object that an option holds; empty when the option is absent.
func jsonObject(_ text: String?, option: String) throws -> JSONObject {
    guard let text else { return JSONObject() }
    let value = try JSON.parse(text, name: option, duplicates: .reject)
    guard let object = value.object else {
        throw KeelError("usage", "\(option) must be a JSON object, not \(value.kind)", code: .usage)
    }
    return object
}
