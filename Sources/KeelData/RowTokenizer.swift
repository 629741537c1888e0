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

        var text: String {
            switch self {
            case .longPrompt: "the prompt alone is too long"
            case .emptyAnswer: "no token is left to train"
            case .emptyPrompt: "no token comes before the answer"
            }
        }
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
            let whole = try encode(texts.completions.first ?? "", texts, 0, place)
            return cut(index, whole.ids.prefix(1), [whole.from(1)])
        }
        var start = try (texts.isChat ? chatIDs(prompt, place) : plainIDs(prompt, place))[...]
        if kind == .prompt {
            if start.count > 1, start.last == tokenizer.eosID, !prompt.hasSuffix(eosText ?? "\0") {
                start.removeLast()
            }
            return prompts(index, start)
        }
        let sides = try texts.completions.indices.map {
            try encode(prompt + texts.completions[$0], texts, $0, place)
        }
        if limits.trainsPrompt, kind == .promptCompletion, let whole = sides.first {
            return cut(index, whole.ids.prefix(1), [whole.from(1)])
        }
        for side in sides { start = start.prefix(commonCount(start, side.ids)) }
        if start.isEmpty, sides.count == 1 { start = sides[0].ids.prefix(1) }
        return cut(index, start, sides.map { $0.from(start.count) })
    }

    /// Ids, and which of them may be trained; nil = all.
    private struct Side {
        var ids: ArraySlice<Int32>
        var mask: ArraySlice<Bool>?

        func from(_ place: Int) -> Side {
            Side(ids: ids.dropFirst(place), mask: mask?.dropFirst(place))
        }
    }

    /// A whole text with its end behind it.
    private func encode(
        _ text: String, _ texts: RowTexts, _ completion: Int, _ place: String
    ) throws -> Side {
        guard texts.isChat else { return Side(ids: try plainIDs(text, place, isEnded: true)[...]) }
        var ids: [Int32]
        var mask: [Bool]?
        if let spans = texts.spans?[completion] {
            let encoding = try tokenizer.encode(text, addSpecial: false)
            ids = encoding.ids
            mask = encoding.mask(of: spans, in: text)
            // What comes behind the last turn is not trained, and nothing comes behind it.
            let end = (mask?.lastIndex(of: true) ?? -1) + 1
            ids.removeSubrange(end...)
            mask?.removeSubrange(end...)
        } else {
            ids = try tokenizer.ids(text, addSpecial: false)
        }
        try refuseDoubledStart(ids[...], place)
        // A template that closes no turns leaves the end to us.
        if let eos = tokenizer.eosID, limits.appendEOS, let last = ids.last,
            !tokenizer.isSpecial(last), last != eos
        {
            ids.append(eos)
            mask?.append(true)
        }
        return Side(ids: ids[...], mask: mask?[...])
    }

    private func chatIDs(_ text: String, _ place: String) throws -> [Int32] {
        let ids = try tokenizer.ids(text, addSpecial: false)
        try refuseDoubledStart(ids[...], place)
        return ids
    }

    /// - Parameter isEnded: EOS comes behind it.
    private func plainIDs(_ text: String, _ place: String, isEnded: Bool = false) throws -> [Int32]
    {
        guard isEnded, let eosText, let eos = tokenizer.eosID else {
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

    private func commonCount(_ a: ArraySlice<Int32>, _ b: ArraySlice<Int32>) -> Int {
        zip(a, b).prefix { $0 == $1 }.count
    }

    /// A prompt's first token when it is BOS, and its end; or its start.
    private func shortened(_ prompt: ArraySlice<Int32>) -> ArraySlice<Int32> {
        guard let limit = limits.maxPromptLength, prompt.count > limit else { return prompt }
        guard limits.keepsPromptEnd else { return prompt.prefix(limit) }
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

    private func cut(_ index: Int, _ given: ArraySlice<Int32>, _ sides: [Side]) -> Outcome {
        var (prompt, sides) = (given, sides)
        // Of a conversation, what comes before the first trained turn is the prompt.
        if sides.count == 1, let mask = sides[0].mask {
            let lead = mask.prefix { !$0 }.count
            prompt = (prompt + sides[0].ids.prefix(lead))[...]
            sides[0] = sides[0].from(lead)
        }
        let kept = shortened(prompt)
        if kept.isEmpty {
            return .dropped(sides.allSatisfy(\.ids.isEmpty) ? .emptyAnswer : .emptyPrompt)
        }
        if let limit = limits.maxLength, kept.count >= limit { return .dropped(.longPrompt) }
        let room = min(
            limits.maxLength.map { $0 - kept.count } ?? .max, limits.maxCompletionLength ?? .max)
        func within<T>(_ list: ArraySlice<T>) -> [T] {
            Array(limits.keepsAnswerStart ? list.prefix(room) : list.suffix(room))
        }
        let completions = sides.map { within($0.ids) }
        let masks = sides.map { side in
            side.mask.map(within) ?? [Bool](repeating: true, count: min(room, side.ids.count))
        }
        if masks.contains(where: { !$0.contains(true) }) { return .dropped(.emptyAnswer) }
        let isCut = kept.count < prompt.count || sides.contains { $0.ids.count > room }
        let isPartial = masks.contains { $0.contains(false) }
        return .kept(
            TokenizedRow(
                index: index, prompt: Array(kept), completions: completions,
                masks: isPartial ? masks : nil), isCut: isCut)
    }
}
