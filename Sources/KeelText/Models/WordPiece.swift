import KeelCore

/// BERT's model: the longest token that begins the word, then the longest that goes on, and so on.
///
/// A word that cannot be covered, or is too long, is one unknown token.
package struct WordPiece: TokenModel {
    package let vocabulary: Vocabulary
    private let unknown: Int32
    private let prefix: [UInt8]
    private let longestWord: Int

    package init(_ part: Part) throws {
        vocabulary = try Vocabulary(part["vocab"])
        prefix = Array((try part["continuing_subword_prefix"].optionalText() ?? "##").utf8)
        longestWord =
            part["max_input_chars_per_word"].json.isNull
            ? 100 : try part["max_input_chars_per_word"].integer(1...Int(Int32.max))
        let token = try part["unk_token"].text()
        guard let id = vocabulary.id(token) else {
            throw part["unk_token"].error("the unknown token \"\(token)\" is not in the vocabulary")
        }
        unknown = id
    }

    package func tokenize(
        _ bytes: [UInt8], _ range: Range<Int>, _ scratch: Scratch, into tokens: inout Tokens
    ) {
        guard !scratch.cache.emit(bytes, range, into: &tokens) else { return }
        let before = tokens.count
        let pieces = cover(bytes, range)
        for (id, range) in pieces ?? [(unknown, range)] { tokens.append(id, range) }
        scratch.cache.remember(bytes, range, tokens, from: before)
    }

    /// The tokens of a word, or nil when some part of it has none.
    private func cover(_ bytes: [UInt8], _ range: Range<Int>) -> [(Int32, Range<Int>)]? {
        // Ends of characters: tokens end where one does.
        var ends: [Int] = []
        var at = range.lowerBound
        while at < range.upperBound {
            at = min(at + AlignedText.length(bytes[at]), range.upperBound)
            ends.append(at)
        }
        guard ends.count <= longestWord else { return nil }
        var pieces: [(Int32, Range<Int>)] = []
        var start = range.lowerBound
        while start < range.upperBound {
            let found = ends.last { end in
                end > start && id(bytes, start..<end, isFirst: start == range.lowerBound) != nil
            }
            guard let end = found,
                let id = id(bytes, start..<end, isFirst: start == range.lowerBound)
            else { return nil }
            pieces.append((id, start..<end))
            start = end
        }
        return pieces
    }

    private func id(_ bytes: [UInt8], _ range: Range<Int>, isFirst: Bool) -> Int32? {
        isFirst ? vocabulary.id(bytes, range) : vocabulary.id(prefix + bytes[range])
    }
}
