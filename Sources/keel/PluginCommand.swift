import ArgumentParser
import KeelBridge
import KeelCore
import KeelHost

struct PluginCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plugin",
        abstract: "Lists, explains, builds and tries plugins.",
        subcommands: [List.self, Info.self, Build.self, Eval.self])

    struct List: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists the plugins that names can mean, and the files that cannot be used.")

        @Flag(help: "Print a JSON object.")
        var json = false

        @OptionGroup var plugins: PluginOptions
        @OptionGroup var global: GlobalOptions

        func run() throws {
            let catalog = plugins.catalog
            print(
                json
                    ? PluginReport.listJSON(catalog: catalog).text()
                    : PluginReport.list(catalog: catalog))
        }
    }

    struct Info: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract:
                "Explains a plugin: what it needs, its parameters, a piece of config that uses it.")

        @Argument(
            help: ArgumentHelp("A component's name or the path of a plugin.", valueName: "PLUGIN"))
        var plugin: String

        @Flag(help: "Print a JSON object per component.")
        var json = false

        @OptionGroup var plugins: PluginOptions
        @OptionGroup var global: GlobalOptions

        func run() throws {
            let components = try plugins.catalog.components(plugin)
            print(
                components.map { json ? PluginReport.infoJSON($0).text() : PluginReport.info($0) }
                    .joined(separator: json ? "\n" : "\n\n"))
        }
    }

    struct Build: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract: "Compiles one source file into a plugin and checks that it loads.",
            discussion: "With --verbose the compiler lines are printed.")

        @Argument(
            help: ArgumentHelp("A .swift, .c or .cpp file.", valueName: "FILE"), completion: .file()
        )
        var file: String

        @Option(
            name: .shortAndLong,
            help: ArgumentHelp(
                "Where the plugin goes; default lib<FILE>.so here.", valueName: "OUT"))
        var output: String?

        @Flag(help: "Link the Swift runtime in, for machines without one.")
        var `static` = false

        @OptionGroup var plugins: PluginOptions
        @OptionGroup var global: GlobalOptions

        func run() throws {
            let build = PluginBuild(
                source: file, output: output, isStatic: `static`, isVerbose: global.verbose)
            let built = try build.run(catalog: plugins.catalog)
            print("\(built.path): \(built.components.map(\.title).joined(separator: ", "))")
        }
    }

    struct Eval: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract: "Runs a plugin on a batch of numbers and texts, as a training step does.",
            discussion: """
                A batch is {"rows": B, "columns": {NAME: {"shape": [...], "data": [...]}}, "text": {...}}.
                With --batch - every line of standard input is one batch.
                """)

        @Argument(
            help: ArgumentHelp("A component's name or the path of a plugin.", valueName: "PLUGIN"))
        var plugin: String

        @Option(
            help: ArgumentHelp(
                "The batch; - reads one from each line of standard input.", valueName: "FILE|-"))
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

        @Option(
            help: ArgumentHelp("The denominator of the reduction \"constant\".", valueName: "X"))
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
            try PluginEval(plugin: plugin, options: options, catalog: plugins.catalog).run(
                batch: batch
            ).finish()
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
