/// 64 bits that a changed, missing or moved word changes: against damage, not against intent.
package struct WordChecksum: Sendable {
    private var hash: UInt64 = 0x9E37_79B9_7F4A_7C15

    package init() {}

    package init(of words: some Sequence<Int32>) { add(words) }

    package mutating func add(_ words: some Sequence<Int32>) {
        for word in words {
            hash = (hash ^ UInt64(UInt32(bitPattern: word))) &* 0xFF51_AFD7_ED55_8CCD
            hash ^= hash >> 32
        }
    }

    /// The lower half, and the upper.
    package var words: [Int32] {
        [Int32(truncatingIfNeeded: hash), Int32(truncatingIfNeeded: hash >> 32)]
    }
}
