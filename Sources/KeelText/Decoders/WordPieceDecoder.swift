/// Joins word pieces: those with the prefix to what is before them, others behind a space.
struct WordPieceDecoder: Decoder {
    private let prefix: [UInt8]
    private let cleansUp: Bool

    init(_ part: Part) throws {
        prefix = Array((try part["prefix"].optionalText() ?? "##").utf8)
        cleansUp = try part["cleanup"].flag(true)
    }

    /// Spaces that English does not write, in this order.
    private static let contractions: [(String, String)] = [
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"),
        (" 'm", "'m"), (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ]

    func decode(_ tokens: [[UInt8]]) throws -> [[UInt8]] {
        try tokens.enumerated().map { index, token in
            var token = token
            if index > 0 {
                if token.starts(with: prefix) {
                    token.removeFirst(prefix.count)
                } else {
                    token.insert(UInt8(ascii: " "), at: 0)
                }
            }
            guard cleansUp else { return token }
            for (long, short) in WordPieceDecoder.contractions {
                token = try token.replacing(.literal(Array(long.utf8)), with: Array(short.utf8))
            }
            return token
        }
    }
}
