import KeelCore

/// The texts of a row: what is given, and what may be trained.
package struct RowTexts: Sendable, Equatable {
    package var prompt: String?
    package var completions: [String]

    package init(prompt: String?, completions: [String]) {
        self.prompt = prompt
        self.completions = completions
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
    init(_ row: Row, _ kind: RowKind) throws {
        switch kind {
        case .text: self.init(nil, [try row.text("text")])
        case .prompt: self.init(try row.text("prompt"), [])
        case .promptCompletion:
            self.init(try row.text("prompt"), [try row.text("completion")])
        case .preference: try self.init(pair: row)
        case .unpaired:
            self.init(
                try row.text("prompt"), [try row.text("completion")],
                values: RowValues(label: try row.label()))
        case .scored:
            var values = RowValues()
            values.rewards = try row.number("reward").map { [$0] }
            values.named = try row.namedRewards()
            values.seqValue = try row.number("seq_values")
            self.init(
                try row.text("prompt"), [try row.text("completion")], values: values)
        case .ranked: try self.init(ranked: row)
        }
    }

    private init(pair row: Row) throws {
        let (chosen, rejected) = (try row.text("chosen"), try row.text("rejected"))
        var values = RowValues(margin: try row.number("margin"))
        let scores = (
            try row.number(row.has("score_chosen") ? "score_chosen" : "chosen_score"),
            try row.number(row.has("score_rejected") ? "score_rejected" : "rejected_score")
        )
        if let better = scores.0, let worse = scores.1 { values.rewards = [better, worse] }
        values.seqValue = try row.number("seq_values")
        self.init(
            texts: row.has("prompt")
                ? RowTexts(prompt: try row.text("prompt"), completions: [chosen, rejected])
                : .implicitPrompt(chosen: chosen, rejected: rejected), values: values)
    }

    /// The completions best first; equal scores keep the order of the file.
    private init(ranked row: Row) throws {
        let completions = try row.texts("completions")
        let scores = try row.numbers("scores")
        if let scores, scores.count != completions.count {
            throw row.error(
                "\"\(row.name("scores"))\" has \(scores.count) numbers for \(completions.count) completions",
                fix: "give every completion one score")
        }
        let order = completions.indices.sorted {
            guard let scores, scores[$0] != scores[$1] else { return $0 < $1 }
            return scores[$0] > scores[$1]
        }
        var values = RowValues()
        values.rewards = scores.map { scores in order.map { scores[$0] } }
        values.seqValue = try row.number("seq_values")
        if let number = try row.number("sft_index") {
            guard let index = Int(exactly: number), let place = order.firstIndex(of: index) else {
                throw row.error(
                    "\"\(row.name("sft_index"))\" is \((row.json[row.name("sft_index")] ?? .null).text()); the row has \(completions.count) completions",
                    fix: "count the completions from 0")
            }
            values.sftIndex = place
        }
        self.init(try row.text("prompt"), order.map { completions[$0] }, values: values)
    }
}
