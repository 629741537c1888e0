import KeelCore

/// Parts numbers from the rest: each digit alone, or runs of digits.
struct Digits: PreTokenizer {
    private let pattern: TextPattern
    private let behavior: SplitBehavior

    init(_ part: Part) throws {
        pattern = .regex(try PCRE(#"\p{N}"#, at: part.place))
        behavior = try part["individual_digits"].flag(false) ? .isolated : .contiguous
    }

    func split(_ pieces: inout Pieces) throws { try pieces.split(at: pattern, behavior) }
}
