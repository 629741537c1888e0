import KeelCore

/// Where a byte comes from: `[start, end)` in bytes of the text that was given.
package struct Origin: Sendable, Equatable {
    package var start: Int32
    package var end: Int32
}

/// UTF-8 text that may have been rewritten, with the origin of each byte.
package struct AlignedText: Sendable {
    package private(set) var bytes: [UInt8]
    /// One per byte; empty when nobody asked for offsets.
    package private(set) var origins: [Origin]
    package let tracksOrigins: Bool

    package init(tracksOrigins: Bool) {
        bytes = []
        origins = []
        self.tracksOrigins = tracksOrigins
    }

    /// A text as it was given: every byte of a character comes from that whole character.
    package init(_ text: String, tracksOrigins: Bool) {
        bytes = Array(text.utf8)
        origins = []
        self.tracksOrigins = tracksOrigins
        guard tracksOrigins else { return }
        origins.reserveCapacity(bytes.count)
        var start = 0
        while start < bytes.count {
            let end = min(start + AlignedText.length(bytes[start]), bytes.count)
            for _ in start..<end { origins.append(Origin(start: Int32(start), end: Int32(end))) }
            start = end
        }
    }

    package var count: Int { bytes.count }

    /// Bytes of the character that starts with `lead`.
    package static func length(_ lead: UInt8) -> Int {
        lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
    }

    /// The origin of a byte; the start of the text when origins are not tracked.
    package func origin(_ index: Int) -> Origin {
        origins.indices.contains(index) ? origins[index] : Origin(start: 0, end: 0)
    }

    package mutating func append(_ byte: UInt8, _ origin: Origin) {
        bytes.append(byte)
        if tracksOrigins { origins.append(origin) }
    }

    package mutating func append(_ text: some Sequence<UInt8>, _ origin: Origin) {
        for byte in text { append(byte, origin) }
    }

    package mutating func append(_ other: AlignedText, _ range: Range<Int>) {
        bytes.append(contentsOf: other.bytes[range])
        if tracksOrigins { origins.append(contentsOf: other.origins[range]) }
    }

    package mutating func append(_ scalar: Unicode.Scalar, _ origin: Origin) {
        append(UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter, origin)
    }

    /// The part of the text in `range`.
    package func slice(_ range: Range<Int>) -> AlignedText {
        var part = AlignedText(tracksOrigins: tracksOrigins)
        part.append(self, range)
        return part
    }

    /// Calls `body` with each character of a range and the place of its first byte.
    package func forEachScalar(in range: Range<Int>, _ body: (Unicode.Scalar, Int) -> Void) {
        var at = range.lowerBound
        while at < range.upperBound {
            let lead = bytes[at]
            let length = min(AlignedText.length(lead), range.upperBound - at)
            var value = length == 1 ? UInt32(lead) : UInt32(lead) & (0x7F >> UInt32(length))
            for i in 1..<max(length, 1) where i < length {
                value = value << 6 | UInt32(bytes[at + i] & 0x3F)
            }
            body(Unicode.Scalar(value) ?? "\u{FFFD}", at)
            at += length
        }
    }
}

/// A text cut into pieces on its way to the model; added tokens are already known by id.
package struct Pieces: Sendable {
    package struct Piece: Sendable {
        package var range: Range<Int>
        /// The id of an added token that stands here, else nil.
        package var token: Int32?
        /// Whether the piece begins where the given text begins.
        package var isFirst: Bool
    }

    package var text: AlignedText
    package var pieces: [Piece]

    /// A whole text as one piece (none when it is empty).
    package init(_ text: AlignedText) {
        self.text = text
        pieces = text.count == 0 ? [] : [Piece(range: 0..<text.count, token: nil, isFirst: true)]
    }

    /// Replaces every piece that is no added token by what `body` makes of it; empty pieces vanish.
    package mutating func split(_ body: (AlignedText, Piece, inout [Piece]) throws -> Void) rethrows
    {
        var result: [Piece] = []
        result.reserveCapacity(pieces.count)
        for piece in pieces {
            if piece.token != nil {
                result.append(piece)
            } else {
                try body(text, piece, &result)
            }
        }
        result.removeAll { $0.range.isEmpty }
        pieces = result
    }

    /// Rewrites every piece that is no added token; `body` appends the new bytes to the text it
    /// gets.
    package mutating func rewrite(
        _ body: (AlignedText, Piece, inout AlignedText) throws -> Void
    ) rethrows {
        var out = AlignedText(tracksOrigins: text.tracksOrigins)
        for index in pieces.indices {
            let start = out.count
            if pieces[index].token != nil {
                out.append(text, pieces[index].range)
            } else {
                try body(text, pieces[index], &out)
            }
            pieces[index].range = start..<out.count
        }
        text = out
        pieces.removeAll { $0.range.isEmpty }
    }
}

/// What happens to the matches when a text is split at a pattern.
package enum SplitBehavior: String, Sendable, CaseIterable {
    case removed = "Removed"
    case isolated = "Isolated"
    case mergedWithPrevious = "MergedWithPrevious"
    case mergedWithNext = "MergedWithNext"
    case contiguous = "Contiguous"

    /// The pieces of `range` given the matches inside it.
    ///
    /// - Parameter invert: what lies between the matches counts as the match.
    func pieces(of range: Range<Int>, matches: [Range<Int>], invert: Bool) -> [Range<Int>] {
        var spans: [(range: Range<Int>, isMatch: Bool)] = []
        spans.reserveCapacity(2 * matches.count + 1)
        var last = range.lowerBound
        for match in matches {
            if last < match.lowerBound { spans.append((last..<match.lowerBound, invert)) }
            spans.append((match, !invert))
            last = match.upperBound
        }
        if last < range.upperBound { spans.append((last..<range.upperBound, invert)) }
        switch self {
        case .isolated: return spans.map(\.range)
        case .removed: return spans.compactMap { $0.isMatch ? nil : $0.range }
        case .contiguous: return SplitBehavior.merge(spans) { $0 == $1 }
        case .mergedWithPrevious: return SplitBehavior.merge(spans) { !$0 && $1 }
        case .mergedWithNext:
            // The same from the right: a match joins what follows it.
            var result: [Range<Int>] = []
            var previous = false
            for span in spans.reversed() {
                if span.isMatch, !previous, let next = result.last {
                    result[result.count - 1] = span.range.lowerBound..<next.upperBound
                } else {
                    result.append(span.range)
                }
                previous = span.isMatch
            }
            return result.reversed()
        }
    }

    /// Joins a span to the one before it when `joins(previous is a match, this is a match)`.
    ///
    /// Before the first span "no match" counts as seen.
    private static func merge(
        _ spans: [(range: Range<Int>, isMatch: Bool)], _ joins: (Bool, Bool) -> Bool
    ) -> [Range<Int>] {
        var result: [Range<Int>] = []
        var previous = false
        for span in spans {
            if joins(previous, span.isMatch), let last = result.last {
                result[result.count - 1] = last.lowerBound..<span.range.upperBound
            } else {
                result.append(span.range)
            }
            previous = span.isMatch
        }
        return result
    }
}
