import KeelCore

/// SentencePiece's words: spaces become a visible mark, a mark may stand in front, words begin at
/// marks.
struct Metaspace: PreTokenizer {
    private let mark: [UInt8]
    private let prepends: MetaspacePrepend
    private let splits: Bool

    init(_ part: Part) throws {
        mark = try MetaspacePrepend.mark(part)
        prepends = try MetaspacePrepend(part)
        splits = try part["split"].flag(true)
    }

    func split(_ pieces: inout Pieces) throws {
        try pieces.rewrite { text, piece, out in
            var word = try text.replacing(
                .literal([UInt8(ascii: " ")]), in: piece.range, with: mark)
            let wanted = prepends == .always || (prepends == .first && piece.isFirst)
            if wanted, !word.bytes.starts(with: mark) { word = word.prepending(mark) }
            out.append(word, 0..<word.count)
        }
        if splits { try pieces.split(at: .literal(mark), .mergedWithNext) }
    }
}

/// Where `Metaspace` puts a mark in front of the text.
enum MetaspacePrepend: String, Sendable {
    case always, first, never

    /// Reads `prepend_scheme`, or the older `add_prefix_space`.
    init(_ part: Part) throws {
        guard let name = try part["prepend_scheme"].optionalText() else {
            self = try part["add_prefix_space"].flag(true) ? .always : .never
            return
        }
        guard let scheme = MetaspacePrepend(rawValue: name) else {
            throw part["prepend_scheme"].error(
                "the prepend scheme \"\(name)\" is not known",
                fix: "use one of: always, first, never")
        }
        self = scheme
    }

    /// The mark, by default U+2581.
    static func mark(_ part: Part) throws -> [UInt8] {
        let mark = try part["replacement"].optionalText() ?? "\u{2581}"
        guard mark.unicodeScalars.count == 1 else {
            throw part["replacement"].error(
                "the replacement must be one character, found \"\(mark)\"")
        }
        return Array(mark.utf8)
    }
}
