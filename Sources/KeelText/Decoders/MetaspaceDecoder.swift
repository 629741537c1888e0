/// Turns marks back into spaces; the marks of the first token were put there, and go.
struct MetaspaceDecoder: Decoder {
    private let mark: [UInt8]
    private let prepends: MetaspacePrepend

    init(_ part: Part) throws {
        mark = try MetaspacePrepend.mark(part)
        prepends = try MetaspacePrepend(part)
    }

    func decode(_ tokens: [[UInt8]]) throws -> [[UInt8]] {
        try tokens.enumerated().map { index, token in
            let dropsMarks = index == 0 && prepends != .never
            var out: [UInt8] = []
            var done = 0
            for match in try TextPattern.literal(mark).matches(in: token, 0..<token.count) {
                out.append(contentsOf: token[done..<match.lowerBound])
                if !dropsMarks { out.append(UInt8(ascii: " ")) }
                done = match.upperBound
            }
            return out + token[done...]
        }
    }
}
