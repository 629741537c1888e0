import KeelCore

/// The tokens of a text: ids, and the bytes of the prepared text that each one covers.
package struct Tokens: Sendable {
    package private(set) var ids: [Int32] = []
    package private(set) var ranges: [Range<Int>] = []

    package var count: Int { ids.count }

    package mutating func append(_ id: Int32, _ range: Range<Int>) {
        ids.append(id)
        ranges.append(range)
    }
}

/// What one thread needs while it tokenises: the word at hand and the words seen before.
package final class Scratch {
    var word = Word()
    var cache = WordCache()
}

/// Tokens of short words that came before.
struct WordCache {
    private static let longestWord = 64
    private static let capacity = 1 << 16

    private var words = ByteTable()
    private var starts: [Int] = []
    private var ids: [Int32] = []
    private var lengths: [UInt8] = []

    /// Appends the tokens of a word that is known; false when it is not.
    func emit(_ bytes: [UInt8], _ range: Range<Int>, into tokens: inout Tokens) -> Bool {
        guard range.count <= WordCache.longestWord, let index = words.find(bytes, range) else {
            return false
        }
        let end = index + 1 < starts.count ? starts[index + 1] : ids.count
        var at = range.lowerBound
        for i in starts[index]..<end {
            tokens.append(ids[i], at..<(at + Int(lengths[i])))
            at += Int(lengths[i])
        }
        return true
    }

    mutating func remember(_ bytes: [UInt8], _ range: Range<Int>, _ tokens: Tokens, from first: Int)
    {
        guard range.count <= WordCache.longestWord else { return }
        if words.count >= WordCache.capacity {
            words.removeAll()
            starts.removeAll(keepingCapacity: true)
            ids.removeAll(keepingCapacity: true)
            lengths.removeAll(keepingCapacity: true)
        }
        words.insert(bytes, range)
        starts.append(ids.count)
        for i in first..<tokens.count {
            ids.append(tokens.ids[i])
            lengths.append(UInt8(truncatingIfNeeded: tokens.ranges[i].count))
        }
    }
}

/// Scratch space that threads take and give back, so that each has its own word cache.
final class ScratchPool: Sendable {
    /// Scratch moves between threads only through the lock.
    private struct Shelf: @unchecked Sendable { var free: [Scratch] = [] }
    private let shelf = Guarded(Shelf())

    func with<Result>(_ body: (Scratch) throws -> Result) rethrows -> Result {
        let taken = shelf.withLock { shelf in
            let scratch = shelf.free.popLast() ?? Scratch()
            return Loan(scratch: scratch)
        }
        defer { shelf.withLock { $0.free.append(taken.scratch) } }
        return try body(taken.scratch)
    }

    private struct Loan: @unchecked Sendable { let scratch: Scratch }
}
