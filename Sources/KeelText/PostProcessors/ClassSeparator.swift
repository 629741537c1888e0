import KeelCore

/// BERT's and RoBERTa's frames: a class token in front, separators behind each text.
struct ClassSeparator: PostProcessor {
    /// Whose frame.
    enum Style: Sendable {
        /// [CLS] A [SEP] B [SEP]; B has type 1.
        case bert
        /// <s> A </s></s> B </s>; all have type 0, and offsets may be trimmed.
        case roberta(trims: Bool, addsPrefixSpace: Bool)
    }

    private let style: Style
    private let first: Int32
    private let separator: Int32

    static func bert(_ part: Part) throws -> ClassSeparator {
        try ClassSeparator(part, .bert)
    }

    static func roberta(_ part: Part) throws -> ClassSeparator {
        try ClassSeparator(
            part,
            .roberta(
                trims: part["trim_offsets"].flag(true),
                addsPrefixSpace: part["add_prefix_space"].flag(true)))
    }

    private init(_ part: Part, _ style: Style) throws {
        self.style = style
        first = try ClassSeparator.token(part["cls"])
        separator = try ClassSeparator.token(part["sep"])
    }

    /// The id in `["<s>", 0]`.
    private static func token(_ part: Part) throws -> Int32 {
        let pair = try part.list()
        guard pair.count == 2 else { throw part.error("a token and its id are needed here") }
        return try pair[1].id()
    }

    func process(_ parts: [Encoding], addSpecial: Bool, tokens: (Int32) -> [UInt8]) -> [Encoding] {
        var parts = parts
        var doubled = false
        if case .roberta(let trims, let addsPrefixSpace) = style {
            doubled = true
            for i in parts.indices {
                if trims {
                    parts[i] = ByteLevelTrim.trim(
                        parts[i], addsPrefixSpace: addsPrefixSpace, tokens: tokens)
                }
                parts[i].typeIDs = parts[i].ids.map { _ in 0 }
            }
        }
        guard addSpecial else { return parts }
        let hasOffsets = parts.contains { !$0.offsets.isEmpty || $0.ids.isEmpty }
        func special(_ id: Int32, type: Int32) -> Encoding {
            Encoding(ids: [id], offsets: hasOffsets ? [0..<0] : [], typeIDs: [type])
        }
        var result = [special(first, type: 0)]
        for (i, part) in parts.enumerated() {
            let type: Int32 = doubled ? 0 : Int32(i)
            if i > 0, doubled { result.append(special(separator, type: 0)) }
            result.append(part)
            result.append(special(separator, type: type))
        }
        return result
    }
}
