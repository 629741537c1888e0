import ArgumentParser
import KeelCore
import KeelHost

struct Tokenize: KeelCommand {
    static let configuration = CommandConfiguration(
        abstract: "Turns text into token ids, one JSON value per line.",
        discussion: """
            A line is a string or {"text", "pair"}; the answer {"ids", "offsets", "type_ids"}.

            EXAMPLES
              echo '"Hello world"' | keel tokenize --model DIR
            """)

    @OptionGroup var model: ModelOption

    @Flag(name: .customLong("no-special"), help: "Add no special tokens.")
    var isPlain = false

    @Flag(help: "Lines are {\"messages\", \"add_generation_prompt\"}.")
    var chat = false

    @OptionGroup var global: GlobalOptions

    func run() throws {
        let stream = LineStream()
        let code = try TokenizeCommand.encode(
            model: model.path, addSpecial: !isPlain, chat: chat, next: stream.next,
            write: stream.write)
        try stream.flush()
        try code.finish()
    }
}

struct Detokenize: KeelCommand {
    static let configuration = CommandConfiguration(
        abstract: "Turns token ids into text, one JSON value per line.",
        discussion: """
            A line is a list of ids; the answer a string.

            EXAMPLES
              echo '[1, 2, 3]' | keel detokenize --model DIR
            """)

    @OptionGroup var model: ModelOption

    @Flag(help: "Leave special tokens out.")
    var skipSpecial = false

    @OptionGroup var global: GlobalOptions

    func run() throws {
        let stream = LineStream()
        let code = try TokenizeCommand.decode(
            model: model.path, skipSpecial: skipSpecial, next: stream.next, write: stream.write)
        try stream.flush()
        try code.finish()
    }
}

/// `--model DIR`.
struct ModelOption: ParsableArguments {
    @Option(
        name: .customLong("model"),
        help: ArgumentHelp("A Hugging Face model folder.", valueName: "DIR"),
        completion: .directory)
    var path: String

    /// A folder that is there.
    func checked() throws -> String {
        guard Files.isDirectory(path) else {
            throw KeelError(
                "model", Files.exists(path) ? "not a folder" : "no such folder", at: path,
                fix: "name a folder with config.json and model.safetensors", code: .noInput)
        }
        return path
    }
}
