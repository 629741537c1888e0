import KeelCore
import KeelModel
import KeelText

/// Turns what users give as a prompt into ids.
///
/// A text is tokenised as it is, messages go through the model's chat template.
package struct PromptReader {
    /// A prompt, ready to be continued.
    package struct Item {
        /// The prompt's number, from 0.
        package var number: Int
        package var ids: [Int32]
        /// The row as it was given; an object.
        package var row: JSONObject
        /// The conversation, where it is one.
        package var messages: [JSON]?
        /// Where it stands, for errors.
        package var place: String
    }

    private let directory: String
    private let tokenizer: Tokenizer?
    private let template: ChatTemplate?
    private let startID: Int32?
    /// Texts are what a user says: they go through the template too.
    package let isChat: Bool
    /// The system message in front of such texts.
    package let system: String?

    /// - Parameters:
    ///   - directory: the model's folder; without tokenizer.json there it takes ids only.
    ///   - startID: stands for an empty text where the tokenizer has no BOS.
    ///   - place: of what asks for a chat, for errors.
    /// - Throws: `KeelError` for a tokenizer or template that cannot be read; (noInput) for a chat without a template.
    package init(
        directory: String, tokenizer: Tokenizer?, startID: Int32?, isChat: Bool = false,
        system: String? = nil, place: String = "--chat"
    ) throws {
        self.directory = directory
        self.tokenizer = tokenizer
        self.startID = startID
        self.isChat = isChat
        self.system = system
        template = try tokenizer.flatMap {
            try ChatTemplate.load(directory: directory, tokenizer: $0)
        }
        if isChat { _ = try requireTemplate(place) }
    }

    // MARK: Prompts

    /// The prompt of a text.
    ///
    /// - Throws: `KeelError` (badData) for a text without tokens.
    package func read(_ text: String, number: Int = 0, place: String) throws -> Item {
        if isChat { return try read(messages(saying: text), number: number, place: place) }
        return Item(
            number: number, ids: try ids(text, place), row: ["prompt": .string(text)],
            messages: nil,
            place: place)
    }

    /// The prompt that a conversation is: its last words are answered.
    ///
    /// - Throws: `KeelError` (badData) for what is no conversation, and what the template refuses.
    package func read(
        _ messages: [JSON], number: Int = 0, row: JSONObject? = nil, place: String
    ) throws -> Item {
        let template = try requireTemplate(place)
        var asked = messages[...]
        while asked.last?["role"]?.string == "assistant" { asked = asked.dropLast() }
        guard !asked.isEmpty else {
            throw KeelError(
                "data", "the messages ask nothing", at: place,
                fix: "end with a message of the user", code: .badData)
        }
        do {
            let rendering = try template.render(.array(Array(asked)), addGenerationPrompt: true)
            guard let tokenizer else { preconditionFailure("a template without a tokenizer") }
            return Item(
                number: number, ids: try tokenizer.ids(rendering.text, addSpecial: false),
                row: row ?? ["prompt": .array(Array(asked))], messages: Array(asked), place: place)
        } catch var error as KeelError {
            error.at = error.at ?? place
            throw error
        }
    }

    /// The user's message, behind the system's.
    package func messages(saying text: String) -> [JSON] {
        let user: JSON = ["role": "user", "content": .string(text)]
        return system.map { [["role": "system", "content": .string($0)], user] } ?? [user]
    }

    /// The prompts of a file: on each line a string, `{"prompt": TEXT or messages}`, `{"messages": [...]}` or
    /// `{"prompt_ids": [...]}`.
    ///
    /// - Throws: `KeelError` with the line of what cannot be read.
    package func read(file path: String) throws -> [Item] {
        var items: [Item] = []
        for (number, line) in try Files.read(path).split(
            separator: 0x0A, omittingEmptySubsequences: false
        ).enumerated() where line.contains(where: { $0 > 0x20 }) {
            let place = "\(path):\(number + 1)"
            let value = try JSON.parse(line: Array(line), place: place)
            items.append(try item(value, items.count, place))
        }
        guard !items.isEmpty else {
            throw KeelError(
                "data", "no prompts in the file", at: path,
                fix: "give a file with one JSON value per line", code: .badData)
        }
        return items
    }

    private func item(_ value: JSON, _ number: Int, _ place: String) throws -> Item {
        if let text = value.string { return try read(text, number: number, place: place) }
        let row = value.object ?? JSONObject()
        if let ids = value["prompt_ids"] {
            return Item(
                number: number, ids: try TokenIDs.read(ids, "prompt_ids (\(place))"), row: row,
                messages: nil, place: place)
        }
        if let messages = value["prompt"]?.array ?? value["messages"]?.array {
            return try read(messages, number: number, row: row, place: place)
        }
        guard let text = value["prompt"]?.string else {
            throw KeelError(
                "data", "no prompt in this row", at: place,
                fix:
                    "a row is a string, {\"prompt\": TEXT or messages}, {\"messages\": [...]} or {\"prompt_ids\": [...]}",
                code: .badData)
        }
        var item = try read(text, number: number, place: place)
        item.row = row
        return item
    }

    // MARK: Texts

    private func requireTemplate(_ place: String) throws -> ChatTemplate {
        guard let template else {
            throw KeelError(
                "generate", "messages need a chat template, and the model's folder has none",
                at: "\(place), \(directory)",
                fix: "add chat_template.jinja to the folder, or give the prompt as a text",
                code: .noInput)
        }
        return template
    }

    private func ids(_ text: String, _ place: String) throws -> [Int32] {
        guard let tokenizer else {
            throw KeelError(
                "generate", "a text needs a tokenizer, and the model's folder has none",
                at: "\(place), \(directory)",
                fix: "give ids: --prompt-ids, or rows with prompt_ids",
                code: .noInput)
        }
        var ids = try tokenizer.ids(text)
        // Some tokenizers end every text: an answer would come after its end.
        if ids.count > 1, let end = tokenizer.eosID, ids.last == end,
            !text.hasSuffix(tokenizer.text(of: end) ?? "\0")
        {
            ids.removeLast()
        }
        if !ids.isEmpty { return ids }
        guard let start = tokenizer.bosID ?? startID else {
            throw KeelError(
                "generate", "an empty prompt", at: place, fix: "give some text", code: .badData)
        }
        return [start]
    }
}
