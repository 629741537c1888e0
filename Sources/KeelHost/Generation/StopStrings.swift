import KeelModel
import KeelText

/// Texts that end a completion; they do not belong to it.
///
/// They are looked for in the text that the ids are decoded to, not among the ids: a stop string may reach
/// over several tokens, and begin or end inside one. The special tokens of the vocabulary have no text; a stop
/// string that spells one of them ends the completion when that token is drawn.
package final class StopStrings: TextEnding {
    private let tokenizer: Tokenizer
    private let texts: [[UInt8]]
    private let ids: Set<Int32>

    /// - Parameter texts: empty ones end nothing.
    package init(_ texts: [String], _ tokenizer: Tokenizer) {
        self.tokenizer = tokenizer
        let special = texts.map { text in
            tokenizer.id(of: text).flatMap { tokenizer.isSpecial($0) ? $0 : nil }
        }
        ids = Set(special.compactMap { $0 })
        self.texts = zip(texts, special).filter { !$0.0.isEmpty && $0.1 == nil }
            .map { Array($0.0.utf8) }
    }

    /// Nothing ends a completion.
    package var isEmpty: Bool { texts.isEmpty && ids.isEmpty }

    package func watch() -> any TextWatch { Watch(self) }

    /// The text of a completion, up to the stop string that ended it.
    ///
    /// - Throws: `KeelError` when a pattern of the decoder gives up.
    package static func text(of completion: Completion, _ tokenizer: Tokenizer) throws -> String {
        let text = try tokenizer.decode(completion.ids, skipSpecial: true)
        guard let end = completion.textBytes else { return text }
        return String(decoding: text.utf8.prefix(end), as: UTF8.self)
    }

    /// How many of the last bytes could be the beginning of a stop string.
    package func openCount(_ bytes: [UInt8]) -> Int {
        texts.reduce(0) { longest, stop in
            let most = min(stop.count - 1, bytes.count)
            guard most > longest else { return longest }
            return (longest + 1...most).last { bytes.suffix($0).elementsEqual(stop.prefix($0)) }
                ?? longest
        }
    }

    /// One completion, token by token.
    private struct Watch: TextWatch {
        private let stops: StopStrings
        private let reach: Int
        private var stream: TextStream
        /// The last settled bytes: as many as a stop string may have before it is whole.
        private var last: [UInt8] = []

        init(_ stops: StopStrings) {
            self.stops = stops
            reach = max(0, (stops.texts.map(\.count).max() ?? 0) - 1)
            stream = TextStream(stops.tokenizer)
        }

        mutating func append(_ id: Int32) throws -> Int? {
            let before = stream.settledCount
            let new = try stream.append(id)
            let recent = last + new + stream.pending
            let first = stops.texts.compactMap { recent.first($0, endingAfter: last.count) }.min()
            if let first { return before - last.count + first }
            if stops.ids.contains(id) { return before + new.count + stream.pending.count }
            last = Array((last + new).suffix(reach))
            return nil
        }
    }
}

extension [UInt8] {
    /// Where the first occurrence of a part begins that ends behind byte `end`.
    fileprivate func first(_ part: [UInt8], endingAfter end: Int) -> Int? {
        let start = Swift.max(0, end - part.count + 1)
        guard start + part.count <= count else { return nil }
        return (start...count - part.count).first { self[$0...].starts(with: part) }
    }
}
