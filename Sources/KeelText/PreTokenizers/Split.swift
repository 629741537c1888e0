import KeelCore

/// Splits at a pattern.
struct Split: PreTokenizer {
    private let pattern: TextPattern
    private let behavior: SplitBehavior
    private let invert: Bool

    init(_ part: Part) throws {
        pattern = try TextPattern(part["pattern"])
        invert = try part["invert"].flag(false)
        let name = try part["behavior"].text()
        guard let behavior = SplitBehavior(rawValue: name) else {
            throw SplitBehavior.unknown(part["behavior"], name)
        }
        self.behavior = behavior
    }

    func split(_ pieces: inout Pieces) throws {
        try pieces.split(at: pattern, behavior, invert: invert)
    }
}

extension SplitBehavior {
    /// The error for a name that is none of these.
    static func unknown(_ part: Part, _ name: String) -> KeelError {
        part.error(
            "the split behaviour \"\(name)\" is not known",
            fix: "use one of: \(allCases.map(\.rawValue).joined(separator: ", "))")
    }
}

extension Pieces {
    /// Splits every piece at the matches of a pattern.
    mutating func split(
        at pattern: TextPattern, _ behavior: SplitBehavior, invert: Bool = false
    ) throws {
        try split { text, piece, result in
            let matches = try pattern.matches(in: text.bytes, piece.range)
            for range in behavior.pieces(of: piece.range, matches: matches, invert: invert) {
                result.append(piece.part(range))
            }
        }
    }
}

extension Pieces.Piece {
    /// A part of this piece.
    func part(_ range: Range<Int>) -> Pieces.Piece {
        Pieces.Piece(
            range: range, token: nil, isFirst: isFirst && range.lowerBound == self.range.lowerBound)
    }
}
