import KeelCore
import KeelText

/// Which tokens of a row are trained.
package enum TrainedPart: String, Sendable {
    /// What the assistant says, in every turn; of a prompt with a completion, the completion.
    case assistant
    /// Every token but the first.
    case all
    /// The assistant's last turn.
    case last
}

/// Turns messages into texts, by a model's chat template.
package struct Conversation: Sendable {
    private let template: ChatTemplate?
    /// What ends a turn.
    private let closing: [String]
    private let trained: TrainedPart
    private var work: Work
    /// Names the template and what is trained, for cache keys.
    package let key: String

    private enum Work {
        case render
        /// Looks at the messages, and renders nothing.
        case check
        /// The same, where no template is needed.
        case plain
    }

    /// Messages as plain words: for rewards that are tried without a model.
    package static let plain = Conversation(
        nil, closing: [], trained: .assistant, key: "plain", .plain)

    /// Whether messages can become texts.
    var rendersMessages: Bool { template != nil || work == .plain }

    /// Finds what is wrong with messages, but for what only their template knows.
    var checking: Conversation {
        var own = self
        if work == .render { own.work = .check }
        return own
    }

    private init(
        _ template: ChatTemplate?, closing: [String], trained: TrainedPart, key: String,
        _ work: Work
    ) {
        self.work = work
        self.template = template
        self.closing = closing
        self.trained = trained
        self.key = key
    }

    /// - Parameter template: nil where the model has none: rows of messages are refused.
    package init(_ template: ChatTemplate?, tokenizer: Tokenizer, trained: TrainedPart) {
        // <|im_end|>, <|eot_id|>, <end_of_turn>, </s>; but not what opens the next turn.
        let marks = ["end", "eot", "eos", "eom", "/s"]
        let closing = (0..<Int32(tokenizer.idLimit)).compactMap { id -> String? in
            guard id == tokenizer.eosID || tokenizer.isSpecial(id) else { return nil }
            guard let text = tokenizer.text(of: id) else { return nil }
            let isEnd = marks.contains { text.lowercased().contains($0) }
            return id == tokenizer.eosID || isEnd ? text : nil
        }
        self.init(
            template, closing: closing, trained: trained,
            key: "\(template?.contentHash ?? "no template") \(trained.rawValue)", .render)
    }

    /// The template; nil where nothing is rendered.
    private func rendering(_ row: Row) throws -> ChatTemplate? {
        guard work != .plain else { return nil }
        guard let template else {
            throw row.error(
                "the row holds messages, and the model's folder has no chat template",
                fix: "name one: \"chat_template\": \"FILE.jinja\" in \"data\"; or store plain texts"
            )
        }
        return work == .check ? nil : template
    }

    /// A whole conversation, of which turns are trained.
    ///
    /// - Throws: `KeelError` (badData) with the row's line, also when the assistant says nothing.
    func whole(_ messages: [JSON], _ variables: JSONObject, _ row: Row) throws -> RowTexts {
        guard messages.contains(where: { $0["role"]?.string == "assistant" }) || trained == .all
        else {
            throw row.error(
                "the assistant says nothing in these messages: there is nothing to train",
                fix: "leave the row out, or set data.train_on to \"all\"")
        }
        guard let template = try rendering(row) else {
            return RowTexts(prompt: nil, completions: [Conversation.words(messages)])
        }
        let (text, turns) = try row.located {
            try template.renderTurns(.array(messages), closing: closing, variables: variables)
        }
        var texts = RowTexts(prompt: nil, completions: [text])
        texts.isChat = true
        switch trained {
        case .all:
            // The line end that a template writes behind the last turn is nobody's.
            if messages.last.map(Conversation.isAssistant) ?? false,
                let end = turns.last?.upperBound
            {
                texts.completions = [String(decoding: text.utf8.prefix(end), as: UTF8.self)]
            }
        case .assistant: texts.spans = [turns]
        case .last: texts.spans = [turns.suffix(1)]
        }
        return texts
    }

    /// Messages that the policy is to answer.
    func prompt(_ messages: [JSON], _ variables: JSONObject, _ row: Row) throws -> RowTexts {
        guard messages.last?["role"]?.string != "assistant" else {
            throw row.error(
                "the prompt ends with the assistant's words",
                fix: "end the prompt with the user's message")
        }
        var texts = RowTexts(prompt: "", completions: [])
        if let template = try rendering(row) {
            texts.prompt = try row.located {
                try template.render(
                    .array(messages), addGenerationPrompt: true, variables: variables
                ).text
            }
        }
        texts.isChat = true
        texts.words = (Conversation.words(messages), [])
        return texts
    }

    /// Messages with one or more continuations.
    func sides(
        _ prompt: [JSON], _ completions: [[JSON]], _ variables: JSONObject, _ row: Row
    ) throws -> RowTexts {
        for completion in completions where !completion.contains(where: Conversation.isAssistant) {
            throw row.error(
                "a completion holds nothing that the assistant says",
                fix: "write it as [{\"role\": \"assistant\", \"content\": \"...\"}]")
        }
        let words = completions.map { side in
            side.last(where: Conversation.isAssistant).map { Conversation.content($0) } ?? ""
        }
        var texts = RowTexts(prompt: "", completions: words)
        if let template = try rendering(row) {
            texts = try row.located { try rendered(prompt, completions, variables, template) }
        }
        texts.isChat = true
        texts.words = (Conversation.words(prompt), words)
        return texts
    }

    private func rendered(
        _ prompt: [JSON], _ completions: [[JSON]], _ variables: JSONObject, _ template: ChatTemplate
    ) throws -> RowTexts {
        let opening = Array(
            try template.render(
                .array(prompt), addGenerationPrompt: true, variables: variables
            ).text.utf8)
        var start = opening
        let earlier = prompt.count(where: Conversation.isAssistant)
        var sides: [(text: [UInt8], turns: [Range<Int>])] = []
        for completion in completions {
            let (text, turns) = try template.renderTurns(
                .array(prompt + completion), closing: closing, variables: variables)
            let own = Array(turns.dropFirst(earlier))
            let bytes = Array(text.utf8.prefix(own.last?.upperBound ?? text.utf8.count))
            sides.append((bytes, own))
            // Some templates write the last turn otherwise than their generation prompt begins it.
            if !bytes.starts(with: start) {
                start = Array(bytes.prefix(own.first?.lowerBound ?? 0))
            }
        }
        guard sides.allSatisfy({ $0.text.starts(with: start) }) else {
            throw KeelError(
                "template", "the completions do not begin alike after the same prompt",
                fix: "look at what the template makes of the last turn", code: .badData)
        }
        var texts = RowTexts(
            prompt: String(decoding: start, as: UTF8.self),
            completions: sides.map { String(decoding: $0.text[start.count...], as: UTF8.self) })
        if completions.contains(where: { $0.count > 1 }), trained != .all {
            texts.spans = sides.map { trained == .last ? $0.turns.suffix(1) : $0.turns }
        }
        return texts
    }

    static func isAssistant(_ message: JSON) -> Bool { message["role"]?.string == "assistant" }

    /// What a message says, without its role.
    static func content(_ message: JSON) -> String {
        guard let content = message["content"] else { return "" }
        if let text = content.string { return text }
        return (content.array ?? []).compactMap { $0["text"]?.string }.joined()
    }

    /// Messages as rewards read them: the words alone where there is one message, else with their speakers.
    static func words(_ messages: [JSON]) -> String {
        if messages.count == 1 { return content(messages[0]) }
        return messages.map { message in
            let role = message["role"]?.string ?? ""
            return "\(role.prefix(1).uppercased())\(role.dropFirst()): \(content(message))"
        }.joined(separator: "\n\n")
    }
}
