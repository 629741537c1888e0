import KeelCore

/// A token that is found in the text before the model sees it.
package struct AddedToken: Sendable {
    package var id: Int32
    package var content: [UInt8]
    /// How it stands in the text that is searched: the content, normalised where that applies.
    package var spelling: [UInt8]
    /// Skipped by `decode(skipSpecial: true)`.
    package var isSpecial: Bool
    /// Looked for after normalisation, in its own normalised spelling.
    package var isNormalized: Bool
    /// Takes the white space on its left.
    package var stripsLeft: Bool
    /// Takes the white space on its right.
    package var stripsRight: Bool
    /// Counts only where no word character touches it.
    package var isSingleWord: Bool

    init(_ part: Part, _ vocabulary: Vocabulary) throws {
        content = try part["content"].bytes()
        spelling = content
        let written = try part["id"].id()
        id = vocabulary.id(content) ?? written
        isSpecial = try part["special"].flag(false)
        isNormalized = try part["normalized"].flag(!isSpecial)
        stripsLeft = try part["lstrip"].flag(false)
        stripsRight = try part["rstrip"].flag(false)
        isSingleWord = try part["single_word"].flag(false)
    }
}

/// Finds added tokens: the leftmost first, the longest among those that start at the same place.
struct AddedTokenMatcher: Sendable {
    private let tokens: [AddedToken]
    /// By first byte: the tokens that start with it, the longest first.
    private let byFirstByte: [[Int]]

    /// - Parameter tokens: those to look for, by their spelling; empty ones are never found.
    init(_ tokens: [AddedToken]) {
        self.tokens = tokens
        var table = [[Int]](repeating: [], count: 256)
        for (i, token) in tokens.enumerated() {
            if let first = token.spelling.first { table[Int(first)].append(i) }
        }
        byFirstByte = table.map { candidates in
            candidates.sorted { (tokens[$1].spelling.count, $0) < (tokens[$0].spelling.count, $1) }
        }
    }

    var isEmpty: Bool { tokens.allSatisfy(\.spelling.isEmpty) }

    /// Cuts a piece at the added tokens inside it.
    func split(_ text: AlignedText, _ piece: Pieces.Piece, into pieces: inout [Pieces.Piece]) {
        let range = piece.range
        var done = range.lowerBound
        func add(_ part: Range<Int>, _ token: Int32?) {
            let isFirst = piece.isFirst && part.lowerBound == range.lowerBound
            pieces.append(Pieces.Piece(range: part, token: token, isFirst: isFirst))
        }
        var at = range.lowerBound
        while at < range.upperBound {
            guard let found = longest(at, text.bytes, range.upperBound) else {
                at += 1
                continue
            }
            let token = tokens[found]
            var (start, end) = (at, at + token.spelling.count)
            at = end
            if token.isSingleWord {
                let before = start > range.lowerBound ? scalar(before: start, text, range) : nil
                let after = end < range.upperBound ? scalar(at: end, text, range) : nil
                if before.map(isWordCharacter) ?? false || after.map(isWordCharacter) ?? false {
                    continue
                }
            }
            if token.stripsLeft {
                while start > range.lowerBound, let last = scalar(before: start, text, range),
                    last.properties.isWhitespace
                {
                    start -= UTF8.width(last)
                }
                start = max(start, done)
            }
            if token.stripsRight {
                while end < range.upperBound, let next = scalar(at: end, text, range),
                    next.properties.isWhitespace
                {
                    end += UTF8.width(next)
                }
            }
            if done < start { add(done..<start, nil) }
            add(start..<end, token.id)
            done = end
        }
        if done < range.upperBound { add(done..<range.upperBound, nil) }
    }

    private func longest(_ at: Int, _ bytes: [UInt8], _ limit: Int) -> Int? {
        byFirstByte[Int(bytes[at])].first { index in
            let spelling = tokens[index].spelling
            guard at + spelling.count <= limit else { return false }
            for i in 1..<max(1, spelling.count) where bytes[at + i] != spelling[i] { return false }
            return true
        }
    }

    private func scalar(at start: Int, _ text: AlignedText, _ range: Range<Int>) -> Unicode.Scalar?
    {
        let end = min(start + AlignedText.length(text.bytes[start]), range.upperBound)
        return String(decoding: text.bytes[start..<end], as: UTF8.self).unicodeScalars.first
    }

    private func scalar(
        before end: Int, _ text: AlignedText, _ range: Range<Int>
    ) -> Unicode.Scalar? {
        var start = end - 1
        while start > range.lowerBound, text.bytes[start] & 0xC0 == 0x80 { start -= 1 }
        return scalar(at: start, text, range)
    }

    /// `\w`: letters, marks, decimal digits, connecting punctuation, joiners.
    private func isWordCharacter(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.properties.isAlphabetic || scalar.properties.isJoinControl { return true }
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation:
            return true
        default: return false
        }
    }
}
