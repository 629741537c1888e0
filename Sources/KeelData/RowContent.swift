import KeelCore

/// The texts of a row: what is given, and what may be trained.
package struct RowTexts: Sendable, Equatable {
    package var prompt: String?
    package var completions: [String]
    /// A chat template wrote them: with all special tokens, and the ends of turns.
    package var isChat = false
    /// Of each completion, the bytes of prompt and completion together that are trained; nil = all of it.
    package var spans: [[Range<Int>]]?
    /// Prompt and completions without what the template added; nil = as they are.
    var words: (prompt: String, completions: [String])?

    /// What rewards read.
    package var spoken: (prompt: String, completions: [String]) {
        words ?? (prompt ?? "", completions)
    }

    package static func == (a: RowTexts, b: RowTexts) -> Bool {
        a.prompt == b.prompt && a.completions == b.completions && a.isChat == b.isChat
            && a.spans == b.spans && a.spoken == b.spoken
    }

    package init(prompt: String?, completions: [String]) {
        self.prompt = prompt
        self.completions = completions
    }

    /// Some of the completions.
    func picking(_ places: [Int]) -> RowTexts {
        var own = self
        own.completions = places.map { completions[$0] }
        own.spans = spans.map { spans in places.map { spans[$0] } }
        own.words = words.map { words in (words.prompt, places.map { words.completions[$0] }) }
        return own
    }

    /// Parts two dialogues that begin alike: what they share is the prompt.
    ///
    /// As TRL does: a space right before the first difference belongs to the answers.
    static func implicitPrompt(chosen: String, rejected: String) -> RowTexts {
        let a = Array(chosen.unicodeScalars)
        let b = Array(rejected.unicodeScalars)
        let limit = min(a.count, b.count)
        var common = 0
        while common < limit, a[common] == b[common] { common += 1 }
        // When one is the beginning of the other, the last shared character goes to the answers, so
        // that none is empty.
        if common == limit {
            common = max(0, limit - 1)
        } else if common > 0, a[common - 1] == " " {
            common -= 1
        }
        func text(_ part: ArraySlice<Unicode.Scalar>) -> String {
            var text = String.UnicodeScalarView()
            text.append(contentsOf: part)
            return String(text)
        }
        return RowTexts(
            prompt: text(a[..<common]), completions: [text(a[common...]), text(b[common...])])
    }
}

/// What a row says besides its texts.
package struct RowValues: Sendable, Equatable {
    /// Whether the completion is a wanted one.
    package var label: Bool?
    /// One for each completion; nil where the data gives none.
    package var rewards: [Double]?
    /// Rewards by the names of those who gave them; NaN where one had no opinion.
    package var named: [String: Double]?
    /// How much better the chosen side is.
    package var margin: Double?
    /// The value of the prompt.
    package var seqValue: Double?
    /// Of a ranked row: the completion that supervised terms train, after sorting.
    package var sftIndex: Int?
    /// Of a ranked row: where each completion stands in the file's list.
    package var order: [Int]?

    package init(label: Bool? = nil, rewards: [Double]? = nil, margin: Double? = nil) {
        self.label = label
        self.rewards = rewards
        self.margin = margin
    }

    /// Of each completion, how many are better; without rewards they stand best first.
    package func ranks(_ count: Int) -> [Int] {
        guard let rewards, rewards.count == count else { return Array(0..<count) }
        return rewards.map { own in rewards.count { $0 > own } }
    }
}

/// A row as its kind has it: texts, and what is said about them.
struct RowContent: Sendable, Equatable {
    var texts: RowTexts
    var values = RowValues()

    init(_ prompt: String?, _ completions: [String], values: RowValues = RowValues()) {
        texts = RowTexts(prompt: prompt, completions: completions)
        self.values = values
    }

    init(texts: RowTexts, values: RowValues) {
        self.texts = texts
        self.values = values
    }

    /// Reads what a row of this kind holds.
    ///
    /// - Throws: `KeelError` (badData) with the row's line.
    init(_ row: Row, _ kind: RowKind, _ chat: Conversation) throws {
        switch kind {
        case .text where row.has("messages"):
            self.init(
                texts: try chat.whole(row.messages("messages"), row.variables, row),
                values: RowValues())
        case .text: self.init(nil, [try row.text("text")])
        case .prompt:
            self.init(texts: try RowContent.prompt(row, chat), values: RowValues())
        case .promptCompletion:
            self.init(texts: try RowContent.answered(row, chat), values: RowValues())
        case .preference: try self.init(pair: row, chat)
        case .unpaired:
            self.init(
                texts: try RowContent.answered(row, chat),
                values: RowValues(label: try row.label()))
        case .scored:
            var values = RowValues()
            values.rewards = try row.number("reward").map { [$0] }
            values.named = try row.namedRewards()
            values.seqValue = try row.number("seq_values")
            self.init(texts: try RowContent.answered(row, chat), values: values)
        case .ranked: try self.init(ranked: row, chat)
        }
    }

    // MARK: Texts and messages

    private static func prompt(_ row: Row, _ chat: Conversation) throws -> RowTexts {
        if row.has("messages") {
            let messages = try row.messages("messages")
            let last = messages.lastIndex(where: Conversation.isAssistant)
            return try chat.prompt(
                last.map { Array(messages[..<$0]) } ?? messages, row.variables, row)
        }
        guard row.isList("prompt") else {
            return RowTexts(prompt: try row.text("prompt"), completions: [])
        }
        return try chat.prompt(row.messages("prompt"), row.variables, row)
    }

    private static func answered(_ row: Row, _ chat: Conversation) throws -> RowTexts {
        if row.has("messages"), !row.has("completion") {
            let messages = try row.messages("messages")
            guard let last = messages.lastIndex(where: Conversation.isAssistant), last > 0 else {
                throw row.error(
                    "the assistant answers nothing in these messages",
                    fix: "leave the row out, or end it with the assistant's answer")
            }
            return try chat.sides(
                Array(messages[..<last]), [[messages[last]]], row.variables, row)
        }
        guard row.isList("prompt") || row.isList("completion") else {
            return RowTexts(
                prompt: try row.text("prompt"), completions: [try row.text("completion")])
        }
        return try chat.sides(
            row.messages("prompt"), [row.messages("completion", role: "assistant")],
            row.variables, row)
    }

    /// Both sides of a pair; without a prompt, what they begin with in common is it.
    private static func sides(_ row: Row, _ chat: Conversation) throws -> RowTexts {
        let fields = ["chosen", "rejected"]
        guard (fields + ["prompt"]).contains(where: row.isList) else {
            let (chosen, rejected) = (try row.text("chosen"), try row.text("rejected"))
            return row.has("prompt")
                ? RowTexts(prompt: try row.text("prompt"), completions: [chosen, rejected])
                : .implicitPrompt(chosen: chosen, rejected: rejected)
        }
        var sides = try fields.map { try row.messages($0, role: "assistant") }
        if row.has("prompt") {
            return try chat.sides(row.messages("prompt"), sides, row.variables, row)
        }
        let common = zip(sides[0], sides[1]).prefix { $0 == $1 }.count
        let prompt = Array(sides[0][..<min(common, sides.map(\.count).min() ?? 0)])
        sides = sides.map { Array($0.dropFirst(prompt.count)) }
        guard !prompt.isEmpty else {
            throw row.error(
                "\"\(row.name("chosen"))\" and \"\(row.name("rejected"))\" begin with different messages, and there is no prompt",
                fix: "begin both with the same messages, or add \"prompt\"")
        }
        return try chat.sides(prompt, sides, row.variables, row)
    }

    private init(pair row: Row, _ chat: Conversation) throws {
        let texts = try RowContent.sides(row, chat)
        var values = RowValues(margin: try row.number("margin"))
        let scores = (
            try row.number(row.has("score_chosen") ? "score_chosen" : "chosen_score"),
            try row.number(row.has("score_rejected") ? "score_rejected" : "rejected_score")
        )
        if let better = scores.0, let worse = scores.1 { values.rewards = [better, worse] }
        values.seqValue = try row.number("seq_values")
        self.init(texts: texts, values: values)
    }

    /// The completions best first; equal scores keep the order of the file.
    private init(ranked row: Row, _ chat: Conversation) throws {
        let completions = try RowContent.candidates(row, chat)
        let scores = try row.numbers("scores")
        if let scores, scores.count != completions.completions.count {
            throw row.error(
                "\"\(row.name("scores"))\" has \(scores.count) numbers for \(completions.completions.count) completions",
                fix: "give every completion one score")
        }
        let order = completions.completions.indices.sorted {
            guard let scores, scores[$0] != scores[$1] else { return $0 < $1 }
            return scores[$0] > scores[$1]
        }
        var values = RowValues()
        values.order = order
        values.rewards = scores.map { scores in order.map { scores[$0] } }
        values.seqValue = try row.number("seq_values")
        if let number = try row.number("sft_index") {
            guard let index = Int(exactly: number), let place = order.firstIndex(of: index) else {
                throw row.error(
                    "\"\(row.name("sft_index"))\" is \((row.json[row.name("sft_index")] ?? .null).text()); the row has \(completions.completions.count) completions",
                    fix: "count the completions from 0")
            }
            values.sftIndex = place
        }
        self.init(texts: completions.picking(order), values: values)
    }

    private static func candidates(_ row: Row, _ chat: Conversation) throws -> RowTexts {
        let name = row.name("completions")
        let lists = row.json[name]?.array ?? []
        guard row.isList("prompt") || lists.contains(where: { $0.array != nil }) else {
            return RowTexts(
                prompt: try row.text("prompt"), completions: try row.texts("completions"))
        }
        let sides = try lists.enumerated().map { index, value in
            try row.messages(value, "\"\(name)\"[\(index)]", role: "assistant")
        }
        guard sides.allSatisfy({ $0.count == 1 }) else {
            throw row.error(
                "a completion of a ranked list has several messages",
                fix: "give each completion as one message of the assistant")
        }
        return try chat.sides(row.messages("prompt"), sides, row.variables, row)
    }
}
