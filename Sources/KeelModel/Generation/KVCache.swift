import KeelCore
import KeelTensor

/// Keys and values of the sequences being generated, in blocks of tokens.
///
/// A sequence holds a block table and takes a block when it grows into it, so memory follows what was really
/// generated. A prompt has blocks that all its continuations read; each continuation has its own. Memory is
/// claimed from the device as blocks are first used, and given back with the cache.
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

    /// Tokens of a block.
    package let blockSize: Int
    /// Blocks at most.
    package let limit: Int
    /// Bytes of one token's keys and values in all layers.
    package let bytesPerToken: Int
    /// Blocks that memory is claimed for.
    package private(set) var claimed = 0
    /// The most blocks that were in use at once.
    package private(set) var peak = 0
    /// By layer: `[claimed * blockSize, kvHeads * headSize]`.
    private var layers: [(k: Tensor, v: Tensor)]
    /// Claimed blocks that are not in use, descending: the lowest goes first, so that the blocks of a
    /// sequence tend to lie side by side.
    private var free: [Int] = []

    /// - Parameter limit: blocks at most.
    package init(
        _ architecture: Architecture, blockSize: Int = 16, limit: Int, dtype: DType, device: Device
    ) {
        precondition(blockSize > 0 && limit >= 0, "\(limit) blocks of \(blockSize)")
        self.blockSize = blockSize
        self.limit = limit
        bytesPerToken = architecture.blocks.reduce(0) {
            $0 + 2 * $1.attention.kvHeads * $1.attention.headSize * dtype.size
        }
        layers = architecture.blocks.map { block in
            let none = Tensor(
                zeros: [0, block.attention.kvHeads * block.attention.headSize], dtype: dtype,
                device: device)
            return (none, none)
        }
    }

    /// Blocks that can still be had.
    package var freeBlocks: Int { limit - used }
    /// Blocks in use.
    package var used: Int { claimed - free.count }
    /// Bytes of the most blocks that were in use at once.
    package var peakBytes: Int { peak * blockSize * bytesPerToken }

    /// Blocks that hold `tokens` tokens.
    func blocks(_ tokens: Int) -> Int { (tokens + blockSize - 1) / blockSize }

    /// Gives a table the blocks it lacks to hold `tokens` tokens.
    ///
    /// - Returns: false, and nothing has changed, when there are not enough.
    func extend(_ table: inout BlockTable, to tokens: Int) -> Bool {
        let missing = blocks(tokens) - table.blocks.count
        guard missing > 0 else { return true }
        guard missing <= freeBlocks else { return false }
        if missing > free.count { claim(used + missing) }
        for _ in 0..<missing {
            guard let block = free.popLast() else { preconditionFailure("no block is free") }
            table.add(block, blockSize)
        }
        peak = max(peak, used)
        return true
    }

    /// Takes a table's blocks back.
    func give(_ table: inout BlockTable) {
        guard !table.blocks.isEmpty else { return }
        free = (free + table.blocks).sorted(by: >)
        table = BlockTable()
    }

    /// Claims memory for `count` blocks at least, and for half as many again as there were.
    private func claim(_ count: Int) {
        let wanted = min(limit, max(count, claimed + claimed / 2))
        for i in layers.indices {
            layers[i].k = grown(layers[i].k, wanted * blockSize)
            layers[i].v = grown(layers[i].v, wanted * blockSize)
        }
        free = (claimed..<wanted).reversed() + free
        claimed = wanted
    }

    /// The rows so far, with room behind them.
    private func grown(_ old: Tensor, _ rows: Int) -> Tensor {
        let new = Tensor(roomFor: [rows, old.columns], dtype: old.dtype, device: old.device)
        if old.rows > 0 { new.copyRows(from: old, to: 0) }
        return new
    }
}

/// Which blocks of a cache hold a sequence's tokens, in order.
struct BlockTable {
    private(set) var blocks: [Int] = []
    /// The rows of the blocks, those side by side as one.
    private(set) var ranges: [Range<Int>] = []

    mutating func add(_ block: Int, _ blockSize: Int) {
        blocks.append(block)
        let rows = block * blockSize..<(block + 1) * blockSize
        if let last = ranges.last, last.upperBound == rows.lowerBound {
            ranges[ranges.count - 1] = last.lowerBound..<rows.upperBound
        } else {
            ranges.append(rows)
        }
    }

    /// The rows of some of its tokens.
    func rows(_ tokens: Range<Int>) -> [Range<Int>] {
        var found: [Range<Int>] = []
        var start = 0
        for range in ranges where start < tokens.upperBound {
            let from = range.lowerBound + max(0, tokens.lowerBound - start)
            let to = min(range.upperBound, range.lowerBound + tokens.upperBound - start)
            if from < to { found.append(from..<to) }
            start += range.count
        }
        return found
    }
}
