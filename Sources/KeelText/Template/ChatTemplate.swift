import KeelCore

/// Turns messages into the text a model was trained on, as its Hugging Face directory says.
///
/// The template is Jinja; docs/chat.md lists the part of it that is understood. The clock is not part of it: a
/// template that asks for today's date (`strftime_now`) finds it undefined and takes its own fixed date.
package struct ChatTemplate: Sendable {
    /// A conversation as text.
    package struct Rendering: Sendable, Equatable {
        package var text: String
        /// Bytes of the text that the template marks as the assistant's; empty without marks.
        package var marked: [Range<Int>]
    }

    private let statements: [TemplateStatement]
    private let name: String
    private let specials: [String: String]
    /// Two templates with the same hash write the same texts.
    package let contentHash: String
    /// Whether the template has `{% generation %}` marks.
    package let hasMarks: Bool

    /// - Parameters:
    ///   - name: what errors call the template, with a line behind it.
    ///   - specials: `bos_token` and the like.
    /// - Throws: `KeelError` (badData) for what cannot be read or is not supported.
    package init(_ source: String, name: String, specials: [String: String] = [:]) throws {
        statements = try TemplateParser.statements(source, name: name)
        self.name = name
        self.specials = specials
        let roles = specials.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        contentHash = SHA256.hex(([source] + roles).joined(separator: "\n"))
        hasMarks = ChatTemplate.hasMarks(statements)
    }

    /// The template of a model's directory: `chat_template.jinja`, else what tokenizer_config.json or
    /// chat_template.json hold.
    ///
    /// - Parameter given: a file that is used in their place.
    /// - Returns: nil when the directory has none.
    /// - Throws: `KeelError` (badData) for what cannot be read or is not supported.
    package static func load(
        directory: String, tokenizer: Tokenizer, file given: String? = nil
    ) throws -> ChatTemplate? {
        var specials: [String: String] = [:]
        let roles: [(String, Int32?)] = [
            ("bos_token", tokenizer.special.bos), ("eos_token", tokenizer.special.eos),
            ("pad_token", tokenizer.special.pad), ("unk_token", tokenizer.special.unk),
        ]
        for (role, id) in roles { specials[role] = id.flatMap(tokenizer.text(of:)) }
        if let given {
            return try ChatTemplate(try Files.readText(given), name: given, specials: specials)
        }
        return try source(directory: directory).map {
            try ChatTemplate($0.text, name: $0.name, specials: specials)
        }
    }

    /// The template's own text, and what errors call it.
    ///
    /// - Throws: `KeelError` (badData) for files that cannot be read.
    package static func source(directory: String) throws -> (text: String, name: String)? {
        let file = Files.join(directory, "chat_template.jinja")
        if Files.exists(file) { return (try Files.readText(file), file) }
        for name in ["tokenizer_config.json", "chat_template.json"] {
            let path = Files.join(directory, name)
            guard Files.exists(path) else { continue }
            let value = try JSON.parse(try Files.read(path), name: path)["chat_template"] ?? .null
            let part = Part(value, file: path, path: "chat_template")
            if part.json.isNull { continue }
            return (try part.json.string ?? named(part), "\(path), chat_template")
        }
        return nil
    }

    /// The template called "default" of a list of them.
    private static func named(_ part: Part) throws -> String {
        let list = try part.list()
        guard let chosen = list.first(where: { $0.json["name"]?.string == "default" }) ?? list.first
        else { throw part.error("the list of templates is empty") }
        return try chosen["template"].text()
    }

    private static func hasMarks(_ statements: [TemplateStatement]) -> Bool {
        statements.contains { statement in
            switch statement.kind {
            case .generation: true
            case .branch(let arms): arms.contains { hasMarks($0.body) }
            case .loop(let loop): hasMarks(loop.body) || hasMarks(loop.otherwise)
            default: false
            }
        }
    }

    /// The text of a conversation.
    ///
    /// - Parameters:
    ///   - messages: objects with `role` and `content`.
    ///   - addGenerationPrompt: ends with what comes before the assistant's next words.
    ///   - variables: what else the template may ask for (`tools`, `enable_thinking`).
    /// - Throws: `KeelError` (badData) for messages that are none, and for what the template refuses.
    package func render(
        _ messages: JSON, addGenerationPrompt: Bool = false, variables: JSONObject = [:]
    ) throws -> Rendering {
        try ChatTemplate.check(messages)
        var known: [String: TemplateValue] = [:]
        for name in TemplateRenderer.functions { known[name] = .function(name) }
        for (name, text) in specials { known[name] = .string(text) }
        known["tools"] = TemplateValue.null
        known["documents"] = TemplateValue.null
        for (name, value) in variables { known[name] = TemplateValue(value) }
        known["messages"] = TemplateValue(messages)
        known["add_generation_prompt"] = .bool(addGenerationPrompt)
        var renderer = TemplateRenderer(name: name, variables: known)
        try renderer.run(statements)
        return Rendering(
            text: String(decoding: renderer.output, as: UTF8.self), marked: renderer.generated)
    }

    private static func check(_ messages: JSON) throws {
        guard let list = messages.array, !list.isEmpty else {
            throw KeelError(
                "template",
                "messages must be a list of {\"role\", \"content\"}, found "
                    + (messages.array == nil ? messages.kind : "an empty list"), code: .badData)
        }
        for (i, message) in list.enumerated() where message["role"]?.string == nil {
            throw KeelError(
                "template", "message \(i) has no \"role\"",
                fix: "write {\"role\": \"user\", \"content\": \"...\"}", code: .badData)
        }
    }

    // MARK: - What the assistant says

    /// A conversation as text, and where the assistant speaks.
    ///
    /// A template with `{% generation %}` marks says so itself. Without them each of the assistant's contents is
    /// replaced by a word that stands nowhere else; what the template writes around that word is the frame, and the
    /// assistant's turn goes from the end of the frame in front to the end of the token that closes the turn.
    ///
    /// - Parameter closing: texts that end a turn (`<|im_end|>`, `</s>`): a turn includes the one behind it.
    /// - Throws: `KeelError` (badData) as `render` does, and when the turns cannot be found.
    package func renderTurns(
        _ messages: JSON, closing: [String], variables: JSONObject = [:]
    ) throws -> (text: String, assistant: [Range<Int>]) {
        let whole = try render(messages, variables: variables)
        if hasMarks { return (whole.text, whole.marked) }
        var list = messages.array ?? []
        let turns = list.indices.filter { list[$0]["role"]?.string == "assistant" }
        guard !turns.isEmpty else { return (whole.text, []) }
        let words = turns.map { turn in
            var number = 0
            var word = "KEELTURN\(turn)X"
            while whole.text.contains(word) {
                number += 1
                word = "KEELTURN\(turn)X\(number)X"
            }
            return word
        }
        for (turn, word) in zip(turns, words) {
            var message = list[turn].object ?? JSONObject()
            message["content"] = .string(word)
            list[turn] = .object(message)
        }
        let frame = try render(.array(list), variables: variables).text
        return (whole.text, try turnPlaces(whole.text, frame, words, closing))
    }

    /// Where the frame's words stand in the text.
    private func turnPlaces(
        _ text: String, _ frame: String, _ words: [String], _ closing: [String]
    ) throws -> [Range<Int>] {
        let bytes = Array(text.utf8)
        func fail() -> KeelError {
            KeelError(
                "template",
                "the assistant's turns cannot be told from the rest of this template's text",
                at: name,
                fix: "put {% generation %} and {% endgeneration %} around them in the template",
                code: .badData)
        }
        // The frame around the words: one part more than there are words.
        var parts: [[UInt8]] = []
        var rest = frame
        for word in words {
            guard let at = TemplateText.find(word, in: rest) else { throw fail() }
            let all = Array(rest.utf8)
            parts.append(Array(all[..<at]))
            rest = String(decoding: all[(at + word.utf8.count)...], as: UTF8.self)
        }
        parts.append(Array(rest.utf8))
        guard bytes.starts(with: parts[0]), bytes.count >= parts[0].count else { throw fail() }
        var places: [Range<Int>] = []
        var start = parts[0].count
        for (i, part) in parts.dropFirst().enumerated() {
            let isLast = i == words.count - 1
            let behind = String(decoding: part, as: UTF8.self)
            let found =
                isLast
                ? (bytes.count - part.count >= start
                    && bytes.reversed().starts(with: part.reversed())
                    ? bytes.count - part.count : nil)
                : part.isEmpty ? nil : TemplateText.find(behind, in: text, from: start)
            guard let end = found else { throw fail() }
            let close = closing.filter { !$0.isEmpty && behind.utf8.starts(with: $0.utf8) }
                .map(\.utf8.count).max()
            places.append(start..<end + (close ?? spacedClose(behind, closing)))
            start = end + part.count
        }
        return places
    }

    /// Bytes up to the end of a closing text that stands behind spaces only (Llama 2 writes ` </s>`).
    private func spacedClose(_ behind: String, _ closing: [String]) -> Int {
        let spaces = behind.utf8.prefix { $0 == UInt8(ascii: " ") }.count
        let rest = behind.utf8.dropFirst(spaces)
        let close = closing.filter { !$0.isEmpty && rest.starts(with: $0.utf8) }.map(\.utf8.count)
        return close.max().map { spaces + $0 } ?? 0
    }
}
