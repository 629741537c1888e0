import ArgumentParser
import KeelBridge
import KeelCore
import KeelHost

struct PluginCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plugin",
        abstract: "Lists, explains, makes, builds and tries plugins.",
        subcommands: [List.self, Info.self, New.self, Build.self, Check.self, Eval.self])

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
            let isOnly = components.count == 1 && !plugin.contains("#")
            let texts = components.map {
                json
                    ? PluginReport.infoJSON($0, isOnly: isOnly).text()
                    : PluginReport.info($0, isOnly: isOnly)
            }
            print(texts.joined(separator: json ? "\n" : "\n\n"))
        }
    }

    struct New: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract: "Makes a folder with a new plugin: source, Makefile, test, config, rows.",
            discussion: """
                In the folder, `make` builds, `make test` tests, `make train MODEL=DIR` trains a few steps.

                EXAMPLE
                  keel plugin new reward polite --lang swift
                """)

        @Argument(
            help: ArgumentHelp(
                "reward, objective, token-sampler or data-sampler.", valueName: "KIND"))
        var kind: String

        @Argument(help: ArgumentHelp("What configs will call it.", valueName: "NAME"))
        var name: String

        @Option(
            name: .customLong("lang"),
            help: ArgumentHelp("The language of the source.", valueName: "swift|c"))
        var language = PluginNew.Language.c

        @Option(
            name: .shortAndLong,
            help: ArgumentHelp("The folder; default NAME here.", valueName: "DIR"))
        var output: String?

        @OptionGroup var plugins: PluginOptions
        @OptionGroup var global: GlobalOptions

        func run() throws {
            let new = PluginNew(kind: kind, name: name, language: language, output: output)
            let made = try new.run(catalog: plugins.catalog)
            print(
                """
                \(made.folder): \(made.files.joined(separator: ", "))
                next: cd \(made.folder) && make test
                """)
        }
    }

    struct Build: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract: "Compiles source files into a plugin and checks that it loads.",
            discussion: """
                C is compiled by cc, C++ by c++, Swift by swiftc with the SDK, which is compiled once and kept.
                CC, CXX and SWIFTC name other compilers; the words of CFLAGS, CXXFLAGS, SWIFTFLAGS and LDFLAGS are
                added to their lines. With -v the lines are printed.

                Ends with 0 when the plugin is there and loads, 1 when a compiler refuses (its messages are shown and
                an older plugin stays), 64 for files of unknown or mixed languages, 66 when there are no sources, 69
                without a compiler or SDK, and when the result is no plugin.
                """)

        @Argument(
            help: ArgumentHelp(
                "Files .c, .cpp or .swift of one plugin, or a folder of them.", valueName: "FILE"),
            completion: .file())
        var files: [String]

        @Option(
            name: .shortAndLong,
            help: ArgumentHelp(
                "Where the plugin goes; default lib<FILE>.so here.", valueName: "OUT"))
        var output: String?

        @Flag(
            help:
                "Link the runtime of Swift or C++ in, for machines without one, and strip the result."
        )
        var `static` = false

        @OptionGroup var plugins: PluginOptions
        @OptionGroup var global: GlobalOptions

        func run() throws {
            let build = PluginBuild(
                sources: files, output: output, isStatic: `static`, isVerbose: global.verbose)
            print(try build.run(catalog: plugins.catalog).text)
        }
    }

    struct Eval: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract: "Runs a plugin on a batch of numbers and texts, as a training step does.",
            discussion: """
                A batch is {"rows": B, "columns": {NAME: {"shape": [...], "data": [...]}}, "text": {...}}.
                With --batch - every line of standard input is one batch. A batch may hold "expect", values that the
                answer must have (to "tolerance", 1e-5 relative): what differs is an error.
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

extension PluginNew.Language: ExpressibleByArgument {}

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
