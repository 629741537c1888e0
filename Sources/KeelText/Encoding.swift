/// A text, or a pair of texts, as token ids.
package struct Encoding: Sendable, Equatable {
    package var ids: [Int32]
    /// The code points of its text that each token covers; `0..<0` for tokens that were added.
    ///
    /// Empty when offsets were not asked for.
    package var offsets: [Range<Int>]
    /// 0 for the first text and 1 for the second, unless the tokenizer says otherwise.
    package var typeIDs: [Int32]
    /// The text of added tokens that took white space with them, by their place among the ids.
    var found: [Int: [UInt8]] = [:]

    package init(ids: [Int32] = [], offsets: [Range<Int>] = [], typeIDs: [Int32] = []) {
        self.ids = ids
        self.offsets = offsets
        self.typeIDs = typeIDs
    }
}

extension Encoding {
    /// Which tokens cover a byte of any of the ranges.
    ///
    /// - Parameters:
    ///   - ranges: bytes of `text`, in order.
    ///   - text: what was encoded, with offsets.
    package func mask(of ranges: [Range<Int>], in text: String) -> [Bool] {
        // Ranges in code points, as offsets are.
        var points: [Int] = []
        points.reserveCapacity(text.utf8.count + 1)
        var count = -1
        for byte in text.utf8 {
            if byte & 0xC0 != 0x80 { count += 1 }
            points.append(count)
        }
        points.append(count + 1)
        let marked = ranges.filter { !$0.isEmpty }.map {
            points[$0.lowerBound]..<points[$0.upperBound - 1] + 1
        }
        return offsets.map { offset in marked.contains { $0.overlaps(offset) } }
    }
}
