import KeelCore

/// Takes white space out of the offsets of byte-level tokens; ids stay as they are.
struct ByteLevelTrim: PostProcessor {
    private let trims: Bool
    private let addsPrefixSpace: Bool

    init(_ part: Part) throws {
        trims = try part["trim_offsets"].flag(true)
        addsPrefixSpace = try part["add_prefix_space"].flag(true)
    }

    func process(_ parts: [Encoding], addSpecial: Bool, tokens: (Int32) -> [UInt8]) -> [Encoding] {
        trims
            ? parts.map { ByteLevelTrim.trim($0, addsPrefixSpace: addsPrefixSpace, tokens: tokens) }
            : parts
    }

    /// Moves both ends of every offset past the token's own white space.
    static func trim(
        _ part: Encoding, addsPrefixSpace: Bool, tokens: (Int32) -> [UInt8]
    ) -> Encoding {
        var part = part
        for (i, range) in part.offsets.enumerated() {
            let token =
                String(decoding: part.found[i] ?? tokens(part.ids[i]), as: UTF8.self).unicodeScalars
            var leading = token.prefix(while: isSpace).count
            let trailing = token.reversed().prefix(while: isSpace).count
            var (start, end) = (range.lowerBound, range.upperBound)
            if leading > 0 {
                // One space in front may have been put there; several were in the text.
                if (i == 0 || start == 0), addsPrefixSpace, leading == 1 { leading = 0 }
                start = min(start + leading, end)
            }
            if trailing > 0, end >= trailing { end = max(end - trailing, start) }
            part.offsets[i] = start..<end
        }
        return part
    }

    private static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar == ByteAlphabet.scalars[0x20] || scalar.properties.isWhitespace
    }
}
