/// Takes white space away from the ends.
struct Strip: Normalizer {
    private let left: Bool
    private let right: Bool

    init(_ part: Part) throws {
        left = try part["strip_left"].flag(true)
        right = try part["strip_right"].flag(true)
    }

    func normalize(_ text: AlignedText) throws -> AlignedText {
        var first: Int?
        var end = 0
        text.forEachScalar(in: 0..<text.count) { scalar, at in
            guard !scalar.properties.isWhitespace else { return }
            first = first ?? at
            end = at + UTF8.width(scalar)
        }
        guard let first else { return left || right ? text.slice(0..<0) : text }
        return text.slice((left ? first : 0)..<(right ? end : text.count))
    }
}
