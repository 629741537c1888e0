import KeelCore

/// Splits at characters of a class.
struct CharacterSplit: PreTokenizer {
    private let behavior: SplitBehavior
    private let isMember: @Sendable (Unicode.Scalar) -> Bool

    /// At white space, which goes.
    static let whitespace = CharacterSplit(.removed) { $0.properties.isWhitespace }

    /// At punctuation, each character by itself unless the file says otherwise.
    static func punctuation(_ part: Part) throws -> CharacterSplit {
        let name = try part["behavior"].optionalText() ?? SplitBehavior.isolated.rawValue
        guard let behavior = SplitBehavior(rawValue: name) else {
            throw SplitBehavior.unknown(part["behavior"], name)
        }
        return CharacterSplit(behavior, isPunctuation)
    }

    init(
        _ behavior: SplitBehavior, _ isMember: @escaping @Sendable (Unicode.Scalar) -> Bool
    ) {
        self.behavior = behavior
        self.isMember = isMember
    }

    /// ASCII's punctuation and symbols, and Unicode's punctuation.
    static func isPunctuation(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E: return true
        default: break
        }
        switch scalar.properties.generalCategory {
        case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation,
            .initialPunctuation, .finalPunctuation, .otherPunctuation:
            return true
        default: return false
        }
    }

    func split(_ pieces: inout Pieces) throws {
        pieces.split { text, piece, result in
            var matches: [Range<Int>] = []
            text.forEachScalar(in: piece.range) { scalar, at in
                if isMember(scalar) { matches.append(at..<at + UTF8.width(scalar)) }
            }
            for range in behavior.pieces(of: piece.range, matches: matches, invert: false) {
                result.append(piece.part(range))
            }
        }
    }
}

/// BERT's words: parts between white space, every punctuation mark by itself.
struct BertPreTokenizer: PreTokenizer {
    private static let steps = [
        CharacterSplit.whitespace, CharacterSplit(.isolated, CharacterSplit.isPunctuation),
    ]

    init(_ part: Part) {}

    func split(_ pieces: inout Pieces) throws {
        for step in BertPreTokenizer.steps { try step.split(&pieces) }
    }
}
