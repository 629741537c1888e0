/// Replaces every match of a pattern in each token.
struct ReplaceDecoder: Decoder {
    private let pattern: TextPattern
    private let content: [UInt8]

    init(_ part: Part) throws {
        pattern = try TextPattern(part["pattern"])
        content = try part["content"].bytes()
    }

    func decode(_ tokens: [[UInt8]]) throws -> [[UInt8]] {
        try tokens.map { token in
            let matches = try pattern.matches(in: token, 0..<token.count)
            guard !matches.isEmpty else { return token }
            var out: [UInt8] = []
            var done = 0
            for match in matches {
                out.append(contentsOf: token[done..<match.lowerBound])
                out.append(contentsOf: content)
                done = match.upperBound
            }
            return out + token[done...]
        }
    }
}
