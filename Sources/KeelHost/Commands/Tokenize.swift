import KeelCore
import KeelText

/// `keel tokenize` and `keel detokenize`: one JSON value per line in, one answer per line out.
///
/// A line that cannot be answered gives `{"error": TEXT}`; the next ones are still answered.
package enum TokenizeCommand {
    /// Answers each line, a string or `{"text", "pair"}`, with `{"ids", "offsets", "type_ids"}`.
    ///
    /// - Parameters:
    ///   - model: the folder with tokenizer.json.
    ///   - addSpecial: false for `--no-special`.
    ///   - chat: the lines are `{"messages", ...}`.
    ///   - next: the bytes of the next line without its end; nil after the last.
    ///   - write: takes one answer without a line end.
    /// - Returns: `failed` when a line could not be answered.
    /// - Throws: `KeelError` when the tokenizer cannot be read.
    package static func encode(
        model: String, addSpecial: Bool = true, chat: Bool = false, next: () throws -> [UInt8]?,
        write: (String) throws -> Void
    ) throws -> ExitCode {
        guard !chat else {
            throw KeelError(
                "tokenizer", "this build renders no chat templates", at: "--chat",
                fix: "render the messages to text first and leave --chat away", code: .usage)
        }
        let tokenizer = try Tokenizer.load(directory: model)
        return try LineAnswers.run(next: next, write: write) { json in
            let encoding: Encoding
            if let text = json.string {
                encoding = try tokenizer.encode(text, addSpecial: addSpecial)
            } else if let text = json["text"]?.string, let pair = json["pair"]?.string {
                encoding = try tokenizer.encode(text, pair: pair, addSpecial: addSpecial)
            } else if let text = json["text"]?.string, json["pair"]?.isNull ?? true {
                encoding = try tokenizer.encode(text, addSpecial: addSpecial)
            } else {
                throw KeelError(
                    "tokenizer",
                    "a line must be a string or {\"text\", \"pair\"}, found \(json.kind)",
                    code: .badData)
            }
            return [
                "ids": .array(encoding.ids.map { .int(Int64($0)) }),
                "offsets": .array(
                    encoding.offsets.map { [JSON($0.lowerBound), JSON($0.upperBound)] }),
                "type_ids": .array(encoding.typeIDs.map { .int(Int64($0)) }),
            ]
        }
    }

    /// Answers each line, a list of ids, with the text they stand for.
    ///
    /// - Parameter skipSpecial: leaves special tokens out.
    /// - Returns: `failed` when a line could not be answered; ids that the tokenizer lacks are such
    ///   a case.
    /// - Throws: `KeelError` when the tokenizer cannot be read.
    package static func decode(
        model: String, skipSpecial: Bool = false, next: () throws -> [UInt8]?,
        write: (String) throws -> Void
    ) throws -> ExitCode {
        let tokenizer = try Tokenizer.load(directory: model)
        return try LineAnswers.run(next: next, write: write) { json in
            guard let list = json.array else {
                throw KeelError(
                    "tokenizer", "a line must be a list of ids, found \(json.kind)", code: .badData)
            }
            let ids = try list.enumerated().map { place, value in
                guard let id = value.int.flatMap({ Int32(exactly: $0) }), tokenizer.token(id) != nil
                else {
                    throw KeelError(
                        "tokenizer",
                        "item \(place) is no token id: \(value.text()); ids are 0 to \(tokenizer.idLimit - 1)",
                        code: .badData)
                }
                return id
            }
            return .string(try tokenizer.decode(ids, skipSpecial: skipSpecial))
        }
    }
}
