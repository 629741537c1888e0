import ArgumentParser
import Glibc
import KeelBridge
import KeelCore

/// The command line.
///
/// Each subcommand is one file: parse, call KeelHost, print.
@main
struct Keel: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keel",
        abstract: "Fine-tunes language models with reinforcement and preference learning.",
        discussion: """
            Results go to standard output, progress and errors to standard error.

            EXAMPLES
              keel train samples/dpo/config.json
              keel train samples/dpo/config.json --set train.learning_rate=1e-5 --resume auto
              keel generate --model runs/dpo --prompt "Once upon a time"
              keel plugin list
            """,
        version: Build.version,
        subcommands: [
            TrainSubcommand.self,
            CheckSubcommand.self,
            EvalSubcommand.self,
            ReportSubcommand.self,
            Generate.self,
            Forward.self,
            Tokenize.self,
            Detokenize.self,
            DataCommand.self,
            RewardCommand.self,
            PluginCommand.self,
            MathCommand.self,
            ModelCommands.self,
            ConfigCommand.self,
            DoctorCommand.self,
            VersionCommand.self,
        ])

    static func main() {
        ActiveCalls.nameFaults()
        do {
            try checkSubcommand()
            var command = try parseAsRoot()
            (command as? any KeelCommand)?.global.apply()
            try command.run()
            Keel.exit()
        } catch let error as KeelError {
            fail([error])
        } catch let error as KeelErrors {
            fail(error.errors)
        } catch {
            let code = exitCode(for: error)
            if wantsJSON, code == .validationFailure {
                fail([KeelError("usage", message(for: error), code: .usage)])
            }
            exit(withError: error)
        }
    }

    /// The parser calls a misspelt subcommand an unexpected argument; this names the nearest one.
    private static func checkSubcommand() throws {
        var command: any ParsableCommand.Type = Keel.self
        var words: [String] = ["keel"]
        for word in CommandLine.arguments.dropFirst() {
            let known = command.configuration.subcommands
            if known.isEmpty || word.hasPrefix("-") || word == "help" { return }
            guard let next = known.first(where: { $0._commandName == word }) else {
                let names = known.map { $0._commandName }
                let near = nearest(word, among: names).map { "did you mean \"\($0)\"?" }
                throw KeelError(
                    "usage", "unknown subcommand \"\(word)\"", at: words.joined(separator: " "),
                    fix: near ?? "one of: \(names.joined(separator: ", "))", code: .usage)
            }
            command = next
            words.append(word)
        }
    }

    /// Prints errors for people, or one JSON object a line, and ends with their exit code.
    private static func fail(_ errors: [KeelError]) -> Never {
        fflush(nil)
        for error in errors { report(error) }
        let codes = Set(errors.map(\.code))
        Glibc.exit((codes.count == 1 ? errors[0].code : KeelCore.ExitCode.config).rawValue)
    }

    static func report(_ error: KeelError) {
        Log.stderr((wantsJSON ? error.json.text() : error.description) + "\n")
    }

    /// `--error-format json`, seen also where the rest of the line does not parse.
    private static var wantsJSON: Bool {
        let arguments = CommandLine.arguments
        return arguments.contains("--error-format=json")
            || zip(arguments, arguments.dropFirst()).contains {
                $0 == "--error-format" && $1 == "json"
            }
    }
}
