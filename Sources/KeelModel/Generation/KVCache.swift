import KeelTensor

/// Keys and values of the sequences being generated: one block of rows per layer, cut into ranges.
///
/// A prompt has a range that all its continuations read; each continuation has one of its own.
package final class KVCache {
    /// Where the rows of one forward pass go.
    struct Step {
        let cache: KVCache
        /// Rows of the pass and the row of the cache where the first of them goes.
        let writes: [(rows: Range<Int>, to: Int)]

        /// Puts a layer's new keys and values into the cache and returns all of it.
        func store(_ k: Tensor, _ v: Tensor, layer: Int) -> (k: Tensor, v: Tensor) {
            let (keys, values) = cache.layers[layer]
            for (rows, row) in writes {
                keys.copyRows(from: k.rowsView(rows.lowerBound, rows.count), to: row)
                values.copyRows(from: v.rowsView(rows.lowerBound, rows.count), to: row)
            }
            return (keys, values)
        }
    }

    /// Rows in all.
    package let capacity: Int
    private let layers: [(k: Tensor, v: Tensor)]
    /// Free ranges, ascending, never touching.
    private var free: [Range<Int>]

    /// - Parameter capacity: rows: tokens whose keys and values can be held at once.
    package init(_ architecture: Architecture, capacity: Int, dtype: DType, device: Device) {
        self.capacity = capacity
        layers = architecture.blocks.map { block in
            let shape = [capacity, block.attention.kvHeads * block.attention.headSize]
            return (
                Tensor(zeros: shape, dtype: dtype, device: device),
                Tensor(zeros: shape, dtype: dtype, device: device)
            )
        }
        free = capacity > 0 ? [0..<capacity] : []
    }

    /// Rows in a line, the first that fit; nil when there are none.
    func take(_ count: Int) -> Range<Int>? {
        if count == 0 { return 0..<0 }
        guard let i = free.firstIndex(where: { $0.count >= count }) else { return nil }
        let start = free[i].lowerBound
        if free[i].count == count {
            free.remove(at: i)
        } else {
            free[i] = start + count..<free[i].upperBound
        }
        return start..<start + count
    }

    /// Gives rows back.
    func give(_ range: Range<Int>) {
        guard !range.isEmpty else { return }
        let i = free.firstIndex { $0.lowerBound > range.lowerBound } ?? free.count
        free.insert(range, at: i)
        if i + 1 < free.count, free[i].upperBound == free[i + 1].lowerBound {
            free[i] = free[i].lowerBound..<free.remove(at: i + 1).upperBound
        }
        if i > 0, free[i - 1].upperBound == free[i].lowerBound {
            free[i - 1] = free[i - 1].lowerBound..<free.remove(at: i).upperBound
        }
    }

    /// Rows not in use.
    var freeRows: Int { free.reduce(0) { $0 + $1.count } }
}
