import KeelCore

/// GPT-2's words, their bytes written with 256 visible characters.
struct ByteLevel: PreTokenizer {
    private let addsPrefixSpace: Bool
    private let words: PCRE?

    /// Contractions, letters, digits and the rest, each with the space before it.
    ///
    /// Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", released code.
    static let pattern =
        #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

    init(_ part: Part) throws {
        addsPrefixSpace = try part["add_prefix_space"].flag(true)
        words = try part["use_regex"].flag(true) ? PCRE(ByteLevel.pattern, at: part.place) : nil
    }

    func split(_ pieces: inout Pieces) throws {
        if addsPrefixSpace {
            pieces.rewrite { text, piece, out in
                if text.bytes[piece.range.lowerBound] != UInt8(ascii: " ") {
                    out.append(UInt8(ascii: " "), text.origin(piece.range.lowerBound))
                }
                out.append(text, piece.range)
            }
        }
        if let words {
            var matches: [Range<Int>] = []
            try pieces.split { text, piece, result in
                matches.removeAll(keepingCapacity: true)
                try words.matches(in: text.bytes, piece.range, into: &matches)
                for range in SplitBehavior.isolated.pieces(
                    of: piece.range, matches: matches, invert: false)
                {
                    result.append(piece.part(range))
                }
            }
        }
        pieces.rewrite { text, piece, out in
            for at in piece.range {
                out.append(ByteAlphabet.utf8[Int(text.bytes[at])], text.origin(at))
            }
        }
    }
}

/// The 256 visible characters that stand for bytes in byte-level vocabularies.
enum ByteAlphabet {
    /// Printable Latin-1 stands for itself; the others follow U+0100 in order.
    static let scalars: [Unicode.Scalar] = {
        var spare: UInt32 = 0x100
        return (0..<256).map { byte in
            switch byte {
            case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: return Unicode.Scalar(UInt8(byte))
            default:
                defer { spare += 1 }
                return Unicode.Scalar(spare) ?? "\u{FFFD}"
            }
        }
    }()

    /// The same as UTF-8.
    static let utf8: [[UInt8]] = scalars.map { Array(String(Character($0)).utf8) }

    /// By scalar value below 0x200: the byte, or -1.
    static let bytes: [Int16] = {
        var table = [Int16](repeating: -1, count: 0x200)
        for (byte, scalar) in scalars.enumerated() { table[Int(scalar.value)] = Int16(byte) }
        return table
    }()
}
