/// Byte strings numbered in the order they came: an open-addressing hash table over one arena.
///
/// Keys compare by bytes. Swift's `String` would call "é" and "e" + U+0301 the same key.
package struct ByteTable: Sendable {
    private var arena: [UInt8] = []
    private var ends: [Int] = []
    private var hashes: [UInt32] = []
    private var slots: [Int32]
    private var mask: Int

    /// - Parameter capacity: keys expected; more are possible.
    package init(capacity: Int = 0) {
        var size = 16
        while size < capacity * 2 { size *= 2 }
        slots = Array(repeating: -1, count: size)
        mask = size - 1
        ends.reserveCapacity(capacity)
        hashes.reserveCapacity(capacity)
    }

    package var count: Int { ends.count }

    /// The bytes of key number `index`.
    package subscript(index: Int) -> ArraySlice<UInt8> {
        arena[(index == 0 ? 0 : ends[index - 1])..<ends[index]]
    }

    /// The number of the key that equals `bytes[range]`, or nil.
    package func find(_ bytes: [UInt8], _ range: Range<Int>) -> Int? {
        let hash = ByteTable.hash(bytes, range)
        var slot = Int(hash) & mask
        while slots[slot] >= 0 {
            let index = Int(slots[slot])
            if hashes[index] == hash, equals(index, bytes, range) { return index }
            slot = (slot + 1) & mask
        }
        return nil
    }

    package func find(_ bytes: [UInt8]) -> Int? { find(bytes, 0..<bytes.count) }

    /// Adds a key and gives its number, or the number it already has.
    @discardableResult
    package mutating func insert(_ bytes: [UInt8], _ range: Range<Int>) -> (index: Int, isNew: Bool)
    {
        let hash = ByteTable.hash(bytes, range)
        var slot = Int(hash) & mask
        while slots[slot] >= 0 {
            let index = Int(slots[slot])
            if hashes[index] == hash, equals(index, bytes, range) { return (index, false) }
            slot = (slot + 1) & mask
        }
        let index = ends.count
        arena.append(contentsOf: bytes[range])
        ends.append(arena.count)
        hashes.append(hash)
        slots[slot] = Int32(index)
        if ends.count * 2 > slots.count { grow() }
        return (index, true)
    }

    /// Forgets every key and keeps the memory.
    package mutating func removeAll() {
        arena.removeAll(keepingCapacity: true)
        ends.removeAll(keepingCapacity: true)
        hashes.removeAll(keepingCapacity: true)
        for slot in slots.indices { slots[slot] = -1 }
    }

    private func equals(_ index: Int, _ bytes: [UInt8], _ range: Range<Int>) -> Bool {
        let start = index == 0 ? 0 : ends[index - 1]
        guard ends[index] - start == range.count else { return false }
        for i in 0..<range.count where arena[start + i] != bytes[range.lowerBound + i] {
            return false
        }
        return true
    }

    private mutating func grow() {
        slots = Array(repeating: -1, count: slots.count * 2)
        mask = slots.count - 1
        for index in hashes.indices {
            var slot = Int(hashes[index]) & mask
            while slots[slot] >= 0 { slot = (slot + 1) & mask }
            slots[slot] = Int32(index)
        }
    }

    /// FNV-1a over the bytes, its high bits folded into the low ones.
    private static func hash(_ bytes: [UInt8], _ range: Range<Int>) -> UInt32 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for i in range { hash = (hash ^ UInt64(bytes[i])) &* 0x100_0000_01B3 }
        return UInt32(truncatingIfNeeded: hash ^ (hash >> 32))
    }
}
