/// Replaces every match of a pattern; the new text counts as the last character it replaces.
struct Replace: Normalizer {
    private let pattern: TextPattern
    private let content: [UInt8]

    init(_ part: Part) throws {
        pattern = try TextPattern(part["pattern"])
        content = try part["content"].bytes()
    }

    func normalize(_ text: AlignedText) throws -> AlignedText {
        try text.replacing(pattern, in: 0..<text.count, with: content)
    }
}

extension AlignedText {
    /// A part of the text with every match of `pattern` replaced.
    func replacing(
        _ pattern: TextPattern, in range: Range<Int>, with content: [UInt8]
    ) throws -> AlignedText {
        var out = AlignedText(tracksOrigins: tracksOrigins)
        var done = range.lowerBound
        for match in try pattern.matches(in: bytes, range) {
            out.append(self, done..<match.lowerBound)
            out.append(content, origin(match.upperBound - 1))
            done = match.upperBound
        }
        out.append(self, done..<range.upperBound)
        return out
    }
}
