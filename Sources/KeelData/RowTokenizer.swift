import KeelCore
import KeelText

/// Turns the texts of a row into tokens, as TRL does.
///
/// The prompt alone and the prompt with each answer (and EOS) are encoded as whole texts; what all
/// of them begin with is the prompt, what follows is the answer. A token that reaches over the end
/// of the prompt so belongs to the answer, and nothing is trained twice.
struct RowTokenizer: Sendable {
    let tokenizer: Tokenizer
    let limits: LengthLimits
    private let eosText: String?

    /// What became of a row.
    enum Outcome: Sendable, Equatable {
        case kept(TokenizedRow, isCut: Bool)
        case dropped(Reason)
    }

    enum Reason: Sendable, Equatable {
        /// The prompt alone fills `maxLength`.
        case longPrompt
        /// No token is left to train.
        case emptyAnswer
        /// No token comes before the answer.
        case emptyPrompt
    }

    init(_ tokenizer: Tokenizer, _ limits: LengthLimits) {
        self.tokenizer = tokenizer
        self.limits = limits
        eosText = limits.appendEOS ? tokenizer.eosID.flatMap { tokenizer.text(of: $0) } : nil
    }

    /// - Parameter place: `file:line`, for errors.
    /// - Throws: `KeelError` (badData) when the text and the tokenizer both bring BOS.
    func tokenize(_ texts: RowTexts, kind: RowKind, index: Int, place: String) throws -> Outcome {
        guard let prompt = texts.prompt else {
            let ids = try encode(texts.completions.first ?? "", place)
            return cut(index, ids.prefix(1), [ids.dropFirst()])
        }
        var start = try tokenizer.ids(prompt)[...]
        try refuseDoubledStart(start, place)
        if kind == .prompt {
            if start.count > 1, start.last == tokenizer.eosID, !prompt.hasSuffix(eosText ?? "\0") {
                start.removeLast()
            }
            return prompts(index, start)
        }
        let sides = try texts.completions.map { try encode(prompt + $0, place) }
        for side in sides { start = start.prefix(commonCount(start, side)) }
        if start.isEmpty, sides.count == 1 { start = sides[0].prefix(1) }
        return cut(index, start, sides.map { $0.dropFirst(start.count) })
    }

    /// A whole text with EOS behind it.
    private func encode(_ text: String, _ place: String) throws -> [Int32] {
        guard let eosText, let eos = tokenizer.eosID else {
            let ids = try tokenizer.ids(text)
            try refuseDoubledStart(ids[...], place)
            return ids
        }
        var ids = try tokenizer.ids(text.hasSuffix(eosText) ? text : text + eosText)
        try refuseDoubledStart(ids[...], place)
        // A tokenizer that ends texts with EOS by itself makes a second one.
        if ids.count > 1, ids.suffix(2).allSatisfy({ $0 == eos }),
            !text.hasSuffix(eosText + eosText)
        {
            ids.removeLast()
        }
        if ids.last != eos { ids.append(eos) }
        return ids
    }

    private func refuseDoubledStart(_ ids: ArraySlice<Int32>, _ place: String) throws {
        guard let bos = tokenizer.bosID, bos != tokenizer.eosID, ids.count > 1,
            ids.prefix(2).allSatisfy({ $0 == bos })
        else { return }
        let text = tokenizer.text(of: bos) ?? "BOS"
        throw KeelError(
            "data", "the text begins with \"\(text)\", and the tokenizer puts another in front",
            at: place,
            fix: "remove \"\(text)\" from the start of the text", code: .badData)
    }

    private func commonCount(_ a: ArraySlice<Int32>, _ b: [Int32]) -> Int {
        zip(a, b).prefix { $0 == $1 }.count
    }

    /// A prompt's first token when it is BOS, and its end.
    private func shortened(_ prompt: ArraySlice<Int32>) -> ArraySlice<Int32> {
        guard let limit = limits.maxPromptLength, prompt.count > limit else { return prompt }
        guard prompt.first == tokenizer.bosID, limit > 1 else { return prompt.suffix(limit) }
        return (prompt.prefix(1) + prompt.suffix(limit - 1))[...]
    }

    private func prompts(_ index: Int, _ prompt: ArraySlice<Int32>) -> Outcome {
        let kept = shortened(prompt)
        if kept.isEmpty { return .dropped(.emptyPrompt) }
        if let limit = limits.maxLength, kept.count >= limit { return .dropped(.longPrompt) }
        return .kept(
            TokenizedRow(index: index, prompt: Array(kept), completions: []),
            isCut: kept.count < prompt.count)
    }

    private func cut(
        _ index: Int, _ prompt: ArraySlice<Int32>, _ sides: [ArraySlice<Int32>]
    ) -> Outcome {
        let kept = shortened(prompt)
        if kept.isEmpty {
            return .dropped(sides.allSatisfy(\.isEmpty) ? .emptyAnswer : .emptyPrompt)
        }
        if let limit = limits.maxLength, kept.count >= limit { return .dropped(.longPrompt) }
        let room = min(
            limits.maxLength.map { $0 - kept.count } ?? .max, limits.maxCompletionLength ?? .max)
        let completions = sides.map { Array($0.prefix(room)) }
        if completions.contains(where: \.isEmpty) { return .dropped(.emptyAnswer) }
        let isCut = kept.count < prompt.count || sides.contains { $0.count > room }
        return .kept(
            TokenizedRow(index: index, prompt: Array(kept), completions: completions), isCut: isCut)
    }
}
