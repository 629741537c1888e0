import ArgumentParser
import KeelBridge
import KeelCore
import KeelHost

/// A subcommand with the options that all have.
protocol KeelCommand: ParsableCommand {
    var global: GlobalOptions { get }
}

/// The options that all subcommands have.
struct GlobalOptions: ParsableArguments {
    @Flag(name: [.short, .long], help: "Print warnings and errors only.")
    var quiet = false

    @Flag(name: [.short, .long], help: "Print more about what is done.")
    var verbose = false

    @Option(help: ArgumentHelp("How errors are printed.", valueName: "text|json"))
    var errorFormat = ErrorFormat.text

    @Option(help: ArgumentHelp("When to use colour.", valueName: "auto|always|never"))
    var color = Terminal.ColorChoice.auto

    enum ErrorFormat: String, CaseIterable, ExpressibleByArgument { case text, json }

    func validate() throws {
        if quiet, verbose { throw ValidationError("--quiet and --verbose exclude each other.") }
    }

    /// Sets up the log; called once, before the subcommand runs.
    func apply() {
        Log.bootstrap(level: quiet ? .warning : verbose ? .debug : .info)
    }

    /// The progress display of this process.
    var progress: Progress { Progress(terminal: Terminal(color: color), isQuiet: quiet) }
}

extension ParsableArguments {
    /// Refuses a count that is not in `range`.
    ///
    /// - Throws: `ValidationError` that names the option.
    func check(_ option: String, _ value: Int?, _ range: ClosedRange<Int>) throws {
        guard let value, !range.contains(value) else { return }
        throw ValidationError(
            "\(option) must be from \(range.lowerBound) to \(range.upperBound).")
    }
}

/// Where plugins are looked for.
struct PluginOptions: ParsableArguments {
    @Option(
        name: .customLong("plugin-path"),
        help: ArgumentHelp("A folder to look for plugins in, before the others.", valueName: "DIR"),
        completion: .directory)
    var folders: [String] = []

    /// All search folders.
    var paths: [String] { PluginPaths.all(folders) }

    var catalog: PluginCatalog { PluginCatalog(searchPaths: paths) }
}

extension Terminal.ColorChoice: ExpressibleByArgument {}

extension KeelCore.ExitCode {
    /// Ends the command with this code, unless it is 0.
    func finish() throws {
        if self != .ok { throw ArgumentParser.ExitCode(rawValue) }
    }
}
