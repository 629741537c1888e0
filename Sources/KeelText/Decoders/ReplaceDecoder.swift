/// Replaces every match of a pattern in each token.
struct ReplaceDecoder: Decoder {
    private let pattern: TextPattern
    private let content: [UInt8]

    init(_ part: Part) throws {
        pattern = try TextPattern(part["pattern"])
        content = try part["content"].bytes()
    }

    func decode(_ tokens: [[UInt8]]) throws -> [[UInt8]] {
        try tokens.map { try $0.replacing(pattern, with: content) }
    }
}

extension [UInt8] {
    /// The bytes with every match of a pattern replaced.
    func replacing(_ pattern: TextPattern, with content: [UInt8]) throws -> [UInt8] {
        let matches = try pattern.matches(in: self, 0..<count)
        guard !matches.isEmpty else { return self }
        var out: [UInt8] = []
        var done = 0
        for match in matches {
            out.append(contentsOf: self[done..<match.lowerBound])
            out.append(contentsOf: content)
            done = match.upperBound
        }
        return out + self[done...]
    }
}
