import KeelTensor

/// How many bytes passes of a decoder hold, from its shape alone.
///
/// A training pass keeps, of every token and block, what the backward pass reads: the inputs of the two norms,
/// queries, keys, values and mixed values of attention, and the inputs of the activation. With recomputation
/// it keeps the input of each block, and the rest of one block at a time.
package struct PassMemory: Sendable {
    private let architecture: Architecture
    private let dtype: DType
    private let lora: LoRAConfig?
    private let recomputes: Bool
    private let threads: Int

    /// - Parameters:
    ///   - dtype: what computes.
    ///   - lora: of an adapter that is trained in the model's place.
    ///   - recomputes: whether blocks keep their input alone.
    ///   - threads: threads that compute at once; each has a tile of logits.
    package init(
        _ architecture: Architecture, dtype: DType, lora: LoRAConfig? = nil,
        recomputes: Bool = false, threads: Int
    ) {
        self.architecture = architecture
        self.dtype = dtype
        self.lora = lora
        self.recomputes = recomputes
        self.threads = threads
    }

    /// Bytes of a cell, and of one of statistics and sums.
    private var cell: Int { dtype.size }
    private var sum: Int { dtype.accumulator.size }
    private var hidden: Int { architecture.hiddenSize }

    /// Bytes that a pass and its backward pass hold at most, beyond weights and gradients.
    ///
    /// - Parameters:
    ///   - rows: packed tokens.
    ///   - targets: tokens whose states are wanted.
    ///   - hasLogits: whether the LM head reads the states.
    package func training(rows: Int, targets: Int, hasLogits: Bool = true) -> Int {
        let state = rows * hidden * cell
        // The last block's output and its rows, their norm, and what flows back into them.
        let ends = state + targets * hidden * 2 * cell
        let head =
            targets * hidden * (sum + cell)
            + (hasLogits ? logits(targets) + changedHead : 0)
        let blocks = architecture.blocks
        let flow = blocks.map { rows * backward($0) }.max() ?? 0
        guard !recomputes else {
            let block = blocks.map { rows * kept($0) + rows * backward($0) }.max() ?? 0
            return ends + state * blocks.count + max(head, block + state)
        }
        return ends + blocks.reduce(0) { $0 + rows * kept($1) } + max(head, flow)
    }

    /// Bytes that a pass without gradient holds at most.
    package func scoring(rows: Int, targets: Int, hasLogits: Bool = true) -> Int {
        let block = architecture.blocks.map { block -> Int in
            let sizes = Sizes(block, hidden)
            return max(
                3 * hidden + 2 * sizes.queries + 4 * sizes.keys, 3 * hidden + 3 * sizes.inner)
        }.max()
        return rows * (block ?? 0) * cell + targets * hidden * 2 * cell
            + (hasLogits ? threads * LogitTile.forward * sum + LogitTile.chunk * hidden * cell : 0)
    }

    /// Bytes of the weights laid out for generation, where this machine does so.
    package var packedWeights: Int {
        let all = architecture.linears.map { ($0.outputSize, $0.inputSize) }
        let head = architecture.headWeight.shape
        return (all + [(head[0], head[1])]).reduce(0) {
            $0 + PackedMatrix.bytes(n: $1.0, k: $1.1, dtype)
        }
    }

    /// Bytes of keys and values of one token.
    package var cachePerToken: Int {
        architecture.blocks.reduce(0) { $0 + 2 * Sizes($1, hidden).keys * cell }
    }

    /// The head with an adapter's columns beside its own, and the gradient of both.
    private var changedHead: Int {
        guard let lora, let head = architecture.ends.head.first, lora.chooses(head.module)
        else { return 0 }
        let width = hidden + lora.size(of: head.module).rank
        return architecture.vocabularySize * width * (cell + sum)
    }

    /// What the LM head's backward pass holds: e^z that was kept, else a chunk of gradients, and a tile of logits for
    /// each thread.
    private func logits(_ targets: Int) -> Int {
        let rows = min(targets, LogitTile.rows)
        guard rows > 0 else { return 0 }
        let vocabulary = architecture.vocabularySize
        let kept =
            recomputes || architecture.logitSoftcap != nil
            ? 0
            : LogitTile.keptBytes(
                rows: targets, vocabulary: vocabulary, cell: cell, most: LogitTile.kept)
        let isAllKept = kept == targets * vocabulary * cell
        let width = min(vocabulary, LogitTile.chunk)
        // The chunk of the weights is packed for the way back, and for the way there where that is gone once more.
        return kept + threads * LogitTile.tileRows * width * sum + width * hidden * cell
            + (isAllKept ? 0 : rows * width * cell + width * hidden * cell)
    }

    /// Bytes per token that a block keeps for its backward pass.
    private func kept(_ block: Block) -> Int {
        let sizes = Sizes(block, hidden)
        // Input, queries, keys, values, mixed values; log Σ e^s and the norms' statistics.
        var cells = hidden + 2 * sizes.queries + 2 * sizes.keys
        var sums = block.attention.heads + 4
        if block.attention.queryNorm != nil {
            cells += sizes.queries + sizes.keys
            sums += block.attention.heads + block.attention.kvHeads
        }
        if block.attentionOutputNorm != nil { cells += hidden }
        if block.mlpOutputNorm != nil { cells += hidden }
        if !block.isParallel { cells += hidden }
        cells += sizes.isGated ? 2 * sizes.inner : sizes.inner
        var bits = 0
        for linear in block.linears where lora?.changes(linear.module) == true {
            cells += 2 * (lora?.size(of: linear.module).rank ?? 0)
            if lora?.dropout ?? 0 > 0 { bits += linear.inputSize }
        }
        return cells * cell + sums * sum + bits / 8
    }

    /// Bytes per token that flow through a block on the way back, at its widest place.
    private func backward(_ block: Block) -> Int {
        let sizes = Sizes(block, hidden)
        let mlp = (2 * hidden + (sizes.isGated ? 3 : 2) * sizes.inner) * cell
        let qkv = sizes.queries + 2 * sizes.keys
        let attention =
            (2 * hidden + sizes.queries + qkv) * cell + (sum == cell ? 1 : 2) * qkv * sum
        let widest =
            block.linears.filter { lora?.changes($0.module) == true }.map(\.inputSize)
            .max() ?? 0
        // Dropout's factors, as floats and as a tensor, and what they make.
        let dropped = lora?.dropout ?? 0 > 0 ? widest * (4 + 2 * cell) : 0
        return max(mlp, attention) + dropped
    }

    /// Cells per token of a block's widest parts.
    private struct Sizes {
        let queries: Int
        let keys: Int
        let inner: Int
        let isGated: Bool

        init(_ block: Block, _ hidden: Int) {
            queries = block.attention.heads * block.attention.headSize
            keys = block.attention.kvHeads * block.attention.headSize
            inner = block.mlp.down.inputSize
            if case .plain = block.mlp.kind { isGated = false } else { isGated = true }
        }
    }
}

extension LoRAConfig {
    /// Cells that an adapter of this config trains in a model.
    package func parameterCount(in architecture: Architecture) -> Int {
        let updates = layers(of: architecture).reduce(0) {
            $0 + size(of: $1.module).rank * ($1.inputSize + $1.outputSize)
        }
        return updates + whole(of: architecture).reduce(0) { $0 + $1[0].count }
    }
}
