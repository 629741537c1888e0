/// Two neighbouring token ids to the merge they allow: an open-addressing hash table.
struct PairTable: Sendable {
    /// What a pair of tokens becomes, and how early: lower ranks merge first.
    struct Merge: Sendable {
        var rank: Int32
        var id: Int32
    }

    private static let empty = UInt64.max
    private var keys: [UInt64]
    private var merges: [Merge]
    private var mask: Int
    private(set) var count = 0

    init(capacity: Int) {
        var size = 16
        while size < capacity * 2 { size *= 2 }
        keys = Array(repeating: PairTable.empty, count: size)
        merges = Array(repeating: Merge(rank: 0, id: 0), count: size)
        mask = size - 1
    }

    /// Ids are never negative, so that no pair equals the empty key.
    subscript(left: Int32, right: Int32) -> Merge? {
        get {
            let key = PairTable.key(left, right)
            var slot = place(key)
            while keys[slot] != PairTable.empty {
                if keys[slot] == key { return merges[slot] }
                slot = (slot + 1) & mask
            }
            return nil
        }
        set {
            guard let newValue else { return }
            if (count + 1) * 2 > keys.count { grow() }
            let key = PairTable.key(left, right)
            var slot = place(key)
            while keys[slot] != PairTable.empty, keys[slot] != key { slot = (slot + 1) & mask }
            if keys[slot] == PairTable.empty { count += 1 }
            keys[slot] = key
            merges[slot] = newValue
        }
    }

    private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    private func place(_ key: UInt64) -> Int {
        Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) >> 32) & mask
    }

    private mutating func grow() {
        let old = (keys, merges)
        keys = Array(repeating: PairTable.empty, count: old.0.count * 2)
        merges = Array(repeating: Merge(rank: 0, id: 0), count: old.0.count * 2)
        mask = keys.count - 1
        for (i, key) in old.0.enumerated() where key != PairTable.empty {
            var slot = place(key)
            while keys[slot] != PairTable.empty { slot = (slot + 1) & mask }
            keys[slot] = key
            merges[slot] = old.1[i]
        }
    }
}
