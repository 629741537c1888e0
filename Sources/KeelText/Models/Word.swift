/// A word while it is being merged: a linked list of symbols and the merges that are possible.
struct Word {
    private(set) var ids: [Int32] = []
    /// Bytes of each symbol.
    private(set) var lengths: [Int] = []
    private var before: [Int] = []
    private var after: [Int] = []
    var queue = MergeQueue()

    var count: Int { ids.count }

    mutating func removeAll() {
        ids.removeAll(keepingCapacity: true)
        lengths.removeAll(keepingCapacity: true)
        before.removeAll(keepingCapacity: true)
        after.removeAll(keepingCapacity: true)
        queue.removeAll()
    }

    mutating func append(_ id: Int32, _ length: Int) {
        if !ids.isEmpty { after[ids.count - 1] = ids.count }
        before.append(ids.count - 1)
        after.append(-1)
        ids.append(id)
        lengths.append(length)
    }

    /// Whether the symbol has not been swallowed by its left neighbour.
    func isAlive(_ at: Int) -> Bool { ids[at] >= 0 }

    func left(of at: Int) -> Int? { before[at] >= 0 ? before[at] : nil }
    func right(of at: Int) -> Int? { after[at] >= 0 ? after[at] : nil }

    /// Makes `at` and its right neighbour one symbol.
    mutating func join(_ at: Int, _ right: Int, _ id: Int32) {
        ids[at] = id
        lengths[at] += lengths[right]
        ids[right] = -1
        after[at] = after[right]
        if after[right] >= 0 { before[after[right]] = at }
    }
}

/// Possible merges, lowest rank first and leftmost among equal ranks: a binary heap.
struct MergeQueue {
    /// `rank << 32 | place`.
    private var heap: [UInt64] = []

    mutating func removeAll() { heap.removeAll(keepingCapacity: true) }

    mutating func push(_ rank: Int32, _ at: Int) {
        heap.append(UInt64(UInt32(bitPattern: rank)) << 32 | UInt64(UInt32(truncatingIfNeeded: at)))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child] < heap[parent] else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    mutating func pop() -> (rank: Int32, at: Int)? {
        guard let top = heap.first, let last = heap.popLast() else { return nil }
        if !heap.isEmpty {
            heap[0] = last
            var parent = 0
            while true {
                var child = 2 * parent + 1
                guard child < heap.count else { break }
                if child + 1 < heap.count, heap[child + 1] < heap[child] { child += 1 }
                guard heap[child] < heap[parent] else { break }
                heap.swapAt(child, parent)
                parent = child
            }
        }
        return (Int32(truncatingIfNeeded: top >> 32), Int(top & 0xFFFF_FFFF))
    }
}
