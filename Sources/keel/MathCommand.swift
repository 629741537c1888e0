import ArgumentParser
import KeelBridge
import KeelCore
import KeelHost

struct MathCommand: KeelCommand {
    static let configuration = CommandConfiguration(
        commandName: "math",
        abstract: "Answers with the numeric functions that Keel and its plugins use.",
        discussion: """
            One JSON object per line of standard input, one per answer.
            Functions: \(MathAnswers.names.joined(separator: ", ")).
            """)

    @Argument(help: ArgumentHelp("The function.", valueName: "NAME"))
    var name: String

    @Option(help: "What it computes in.")
    var dtype = MathDType.f64

    @OptionGroup var global: GlobalOptions

    func run() throws {
        try MathAnswers.run(name, precision: dtype == .f64 ? .f64 : .f32).finish()
    }
}
