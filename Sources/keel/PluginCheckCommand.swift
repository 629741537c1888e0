import ArgumentParser
import Glibc
import KeelBridge
import KeelCore
import KeelHost

extension PluginCommand {
    struct Check: KeelCommand {
        static let configuration = CommandConfiguration(
            abstract: "Tests whether a plugin keeps the contract, each test in its own process.",
            discussion: """
                A pattern is a group (reward), a test (reward.empty_text), or either with *.
                The exit code is 1 when a test fails; a warning does not fail.
                """)

        @Argument(
            help: ArgumentHelp(
                "A component's name, the path of a plugin, or PATH#COMPONENT.", valueName: "PLUGIN")
        )
        var plugin: String?

        @Flag(help: "Print every test with what it asks for.")
        var list = false

        @Option(help: ArgumentHelp("Only these tests; may be repeated.", valueName: "PATTERN"))
        var include: [String] = []

        @Option(help: ArgumentHelp("Not these tests; may be repeated.", valueName: "PATTERN"))
        var exclude: [String] = []

        @Option(help: ArgumentHelp("Parameters for the plugin, a JSON object.", valueName: "JSON"))
        var params: String?

        @Option(help: ArgumentHelp("Seconds that one test may take.", valueName: "S"))
        var timeout = 20.0

        @Option(help: ArgumentHelp("Repeats a check; the default is random.", valueName: "N"))
        var seed: UInt64?

        @Option(help: ArgumentHelp("Tests at a time; default: the processors.", valueName: "N"))
        var jobs: Int?

        @Flag(help: "Print a JSON object.")
        var json = false

        // What a test process is told.
        @Option(help: .hidden) var runTest: String?
        @Option(help: .hidden) var component: String?

        @OptionGroup var plugins: PluginOptions
        @OptionGroup var global: GlobalOptions

        func validate() throws {
            guard timeout > 0, timeout <= 3600 else {
                throw ValidationError("--timeout is between 0 and 3600 seconds.")
            }
            guard jobs ?? 1 >= 1 else { throw ValidationError("--jobs is 1 or more.") }
            guard list || plugin != nil else { throw ValidationError("Missing argument PLUGIN.") }
        }

        func run() throws {
            if list { return print(PluginCheck.list()) }
            let plugin = plugin ?? ""
            let params = try jsonObject(params, option: "--params")
            if let runTest {
                ConformanceChild.run(
                    .init(
                        path: plugin, test: runTest, component: component, seed: seed ?? 1,
                        params: params, timeout: timeout), catalog: plugins.catalog)
            }
            var options = PluginCheck.Options()
            options.isJSON = json
            options.isVerbose = global.verbose
            options.suite.include = include
            options.suite.exclude = exclude
            options.suite.params = params
            options.suite.timeout = timeout
            options.suite.seed = seed ?? UInt64.random(in: 1..<1_000_000)
            if let jobs { options.suite.jobs = jobs }
            try PluginCheck(plugin: plugin, options: options, catalog: plugins.catalog).run()
                .finish()
        }
    }
}
