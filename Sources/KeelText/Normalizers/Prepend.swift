/// Puts a text in front of every non-empty text; it counts as part of the first character.
struct Prepend: Normalizer {
    private let prefix: [UInt8]

    init(_ part: Part) throws { prefix = try part["prepend"].bytes() }

    func normalize(_ text: AlignedText) throws -> AlignedText { text.prepending(prefix) }
}

extension AlignedText {
    /// The text behind a prefix that shares the origin of the first character; an empty text stays.
    func prepending(_ prefix: [UInt8]) -> AlignedText {
        guard count > 0 else { return self }
        var out = AlignedText(tracksOrigins: tracksOrigins)
        out.append(prefix, origin(0))
        out.append(self, 0..<count)
        return out
    }
}
