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
        let tokenizer = try Tokenizer.load(directory: model)
        if chat { return try self.chat(model, tokenizer, next, write) }
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

    /// Answers each line, `{"messages", "add_generation_prompt"}`, with `{"text", "ids"}` and, where the template
    /// marks what the assistant says, `"assistant_mask"`: 1 for each id of it.
    private static func chat(
        _ model: String, _ tokenizer: Tokenizer, _ next: () throws -> [UInt8]?,
        _ write: (String) throws -> Void
    ) throws -> ExitCode {
        guard let template = try ChatTemplate.load(directory: model, tokenizer: tokenizer) else {
            throw KeelError(
                "tokenizer", "the model's folder has no chat template", at: model,
                fix: "add chat_template.jinja, or leave --chat away", code: .noInput)
        }
        return try LineAnswers.run(next: next, write: write) { json in
            var variables = json.object ?? JSONObject()
            variables["messages"] = nil
            variables["add_generation_prompt"] = nil
            let rendering = try template.render(
                json["messages"] ?? .null,
                addGenerationPrompt: json["add_generation_prompt"]?.bool ?? false,
                variables: variables)
            let encoding = try tokenizer.encode(rendering.text, addSpecial: false)
            var answer: JSONObject = [
                "text": .string(rendering.text),
                "ids": .array(encoding.ids.map { .int(Int64($0)) }),
            ]
            if template.hasMarks {
                let mask = encoding.mask(of: rendering.marked, in: rendering.text)
                answer["assistant_mask"] = .array(mask.map { .int($0 ? 1 : 0) })
            }
            return .object(answer)
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
