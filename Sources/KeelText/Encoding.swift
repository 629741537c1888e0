/// A text, or a pair of texts, as token ids.
package struct Encoding: Sendable, Equatable {
    package var ids: [Int32]
    /// The code points of its text that each token covers; `0..<0` for tokens that were added.
    ///
    /// Empty when offsets were not asked for.
    package var offsets: [Range<Int>]
    /// 0 for the first text and 1 for the second, unless the tokenizer says otherwise.
    package var typeIDs: [Int32]

    package init(ids: [Int32] = [], offsets: [Range<Int>] = [], typeIDs: [Int32] = []) {
        self.ids = ids
        self.offsets = offsets
        self.typeIDs = typeIDs
    }
}
