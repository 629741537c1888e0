import CKernels
import KeelCore

/// How many logits exist at once.
package enum LogitTile {
    /// Rows of a tile.
    package static let tileRows = 64
    /// Vocabulary entries of a chunk.
    package static let chunk = 2048
    /// Logits of a forward tile.
    package static let forward = tileRows * chunk
    /// Rows of a backward pass over the vocabulary.
    package static let rows = 2048
    /// Bytes of e^z that a training pass may keep.
    package static let kept = 1 << 28

    /// Bytes of e^z that are kept of so many rows: whole chunks.
    ///
    /// - Parameter most: what there is room for.
    package static func keptBytes(rows: Int, vocabulary: Int, cell: Int, most: Int) -> Int {
        let columns = most / max(1, rows * cell)
        return rows * cell * (columns < vocabulary ? columns / chunk * chunk : vocabulary)
    }
}

/// The LM head and the softmax over its logits, a block of rows and a chunk of the vocabulary at a time.
struct LMHead {
    let temperature: Double
    let softcap: Double

    /// What the forward pass finds for every row.
    struct Rows {
        var logprobs: [Double]
        var lse: [Double]
        var entropy: [Double]
        var vocabLogprobs: [Double]
        var best: [Int32]
        /// For each chunk of the vocabulary, what the backward pass takes up; nothing where it needs z itself.
        var chunks: [Chunk] = []
    }

    /// The largest z so far of each row `[rows]`, and e^(z - top) `[rows, chunk]` in the type of the states if it was kept.
    struct Chunk {
        let tops: Tensor
        let exps: Tensor?
    }

    /// dL by each output of every row.
    struct Slopes {
        var logprobs: [Double]
        var entropy: [Double]
        var vocabLogprobs: [Double]
    }

    /// - Parameters:
    ///   - entropy: also the entropy of each row.
    ///   - vocabulary: also the mean log-probability over the vocabulary.
    ///   - bytes: what may be kept for the backward pass; nil = there is none.
    func forward(
        _ hidden: Tensor, _ weight: Tensor, _ targets: Tensor, entropy: Bool, vocabulary: Bool,
        keeping bytes: Int?
    ) -> Rows {
        StageClock.measure(.head, flops: 2 * Double(hidden.rows) * Double(weight.count)) {
            found(
                hidden, weight, targets, entropy: entropy, vocabulary: vocabulary,
                // A softcap's slope is not to be had from e^z.
                keeping: softcap > 0 ? nil : bytes)
        }
    }

    private func found(
        _ hidden: Tensor, _ weight: Tensor, _ targets: Tensor, entropy: Bool,
        vocabulary mean: Bool, keeping bytes: Int?
    ) -> Rows {
        let (n, h, vocabulary) = (hidden.rows, hidden.columns, weight.rows)
        let room = LogitTile.keptBytes(
            rows: n, vocabulary: vocabulary, cell: hidden.dtype.size, most: bytes ?? 0)
        let keptColumns = room / max(1, n * hidden.dtype.size)
        var chunks: [Chunk] = []
        Kernels.check(targets, below: vocabulary)
        let empty = ck_lm_row(
            max: -.infinity, sum: 0, weighted: 0, total: 0, target: 0, best: -.infinity,
            best_id: 0, reserved: 0)
        var state = [ck_lm_row](repeating: empty, count: n)
        let wants = Int32((entropy ? CK_LM_ENTROPY : 0) | (mean ? CK_LM_TOTAL : 0))
        let ids = targets.raw.assumingMemoryBound(to: Int32.self)
        state.withUnsafeMutableBufferPointer { state in
            guard let rows = state.baseAddress else { return }
            for first in stride(from: 0, to: vocabulary, by: LogitTile.chunk) {
                let width = min(LogitTile.chunk, vocabulary - first)
                let chunk = weight.rowsView(first, width)
                let packed = PackedMatrix.make(chunk, transposed: true)
                let tops = bytes == nil ? nil : Kernels.accumulator([n], like: hidden)
                let exps =
                    first < keptColumns
                    ? Tensor(uninitialized: [n, width], hidden.dtype, hidden.device) : nil
                if let tops { chunks.append(Chunk(tops: tops, exps: exps)) }
                Tiles.evenly(hidden.device, n, most: LogitTile.tileRows) { start, count in
                    let logits = Kernels.accumulator([count, width], like: hidden)
                    // Inside a tile the pool runs serially, so this is one thread's product.
                    LMHead.logits(logits, hidden.rowsView(start, count), chunk, packed)
                    hidden.kernels.pointee.lm_chunk(
                        rows + start, logits.raw, ids + start, Int64(count), Int64(width),
                        Int64(first), temperature, softcap, wants, tops?.cell(start),
                        exps?.row(start))
                    withExtendedLifetime(logits) {}
                }
            }
        }
        withExtendedLifetime((hidden, weight, targets)) {}
        precondition(weight.columns == h, "LM head \(weight.shape) for hidden \(hidden.shape)")
        let lse = state.map { $0.max + $0.sum.logarithm }
        return Rows(
            logprobs: state.indices.map { state[$0].target - lse[$0] }, lse: lse,
            entropy: entropy
                ? state.indices.map { lse[$0] - state[$0].weighted / state[$0].sum } : [],
            vocabLogprobs: mean
                ? state.indices.map { state[$0].total / Double(vocabulary) - lse[$0] } : [],
            best: state.map(\.best_id), chunks: chunks)
    }

    /// Logits of some rows and a chunk of the vocabulary, packed or not.
    private static func logits(
        _ z: Tensor, _ hidden: Tensor, _ chunk: Tensor, _ packed: PackedMatrix?
    ) {
        if let packed {
            packed.multiply(z, hidden)
        } else {
            Matmul.rows(z, hidden, chunk, transposed: true)
        }
    }

    /// Runs `body(start, count)` over tiles of rows; products of oneDNN, unlike ours, may follow the cut.
    private static func tiles(
        _ device: Device, _ rows: Int, evenly: Bool, _ body: (Int, Int) -> Void
    ) {
        if evenly {
            Tiles.evenly(device, rows, most: LogitTile.tileRows, body)
        } else {
            Tiles.over(device, rows, size: LogitTile.tileRows, body)
        }
    }

    /// Turns what was kept into the gradient of the logits: once.
    ///
    /// - Parameters:
    ///   - slopes: what flows back from each output.
    ///   - dHidden: f32 (f64 under f64) `[n, h]`, added to; nil = not wanted.
    ///   - dWeight: the same for the weight.
    func backward(
        _ hidden: Tensor, _ weight: Tensor, _ targets: Tensor, _ rows: Rows, _ slopes: Slopes,
        dHidden: Tensor?, dWeight: Tensor?
    ) {
        let wanted = (dHidden == nil ? 0.0 : 1) + (dWeight == nil ? 0 : 1)
        StageClock.measure(.head, flops: 2 * wanted * Double(hidden.rows) * Double(weight.count)) {
            flowBack(
                hidden, weight, targets, rows, slopes, dHidden: dHidden, dWeight: dWeight)
        }
    }

    private func flowBack(
        _ hidden: Tensor, _ weight: Tensor, _ targets: Tensor, _ rows: Rows, _ slopes: Slopes,
        dHidden: Tensor?, dWeight: Tensor?
    ) {
        let (n, vocabulary) = (hidden.rows, weight.rows)
        let state = (0..<n).map { i in
            ck_lm_slope(
                lse: rows.lse[i], g: slopes.logprobs[i],
                h: rows.entropy.isEmpty ? 0 : rows.entropy[i], gh: slopes.entropy[i],
                gv: slopes.vocabLogprobs[i] / Double(vocabulary),
                gsum: slopes.logprobs[i] + slopes.vocabLogprobs[i],
                p: rows.logprobs[i].exponential)
        }
        let ids = targets.raw.assumingMemoryBound(to: Int32.self)
        let device = hidden.device
        let table = hidden.kernels
        // The slope of an entropy takes z itself.
        let chunks = slopes.entropy.allSatisfy { $0 == 0 } ? rows.chunks : []
        for block in stride(from: 0, to: n, by: LogitTile.rows) {
            let count = min(LogitTile.rows, n - block)
            for first in stride(from: 0, to: vocabulary, by: LogitTile.chunk) {
                let chunk = chunks.isEmpty ? nil : chunks[first / LogitTile.chunk]
                let width = min(LogitTile.chunk, vocabulary - first)
                let part = weight.rowsView(first, width)
                let kept = chunk?.exps?.rowsView(block, count)
                let forward = kept == nil ? PackedMatrix.make(part, transposed: true) : nil
                let back = dHidden == nil ? nil : PackedMatrix.make(part, transposed: false)
                let d = kept ?? Tensor(uninitialized: [count, width], hidden.dtype, device)
                LMHead.tiles(device, count, evenly: back != nil) { start, size in
                    let at = block + start
                    state.withUnsafeBufferPointer { state in
                        let slopes = state.baseAddress.map { $0 + at }
                        let logits =
                            kept == nil ? Kernels.accumulator([size, width], like: hidden) : nil
                        if let logits {
                            LMHead.logits(logits, hidden.rowsView(at, size), part, forward)
                        }
                        let (cells, rows, columns) = (d.row(start), Int64(size), Int64(width))
                        if let chunk {
                            if let logits {
                                table.pointee.lm_exps(
                                    cells, chunk.tops.cell(at), logits.raw, rows, columns,
                                    temperature)
                            }
                            table.pointee.lm_exps_backward(
                                cells, chunk.tops.cell(at), ids + at, slopes, rows, columns,
                                Int64(first), temperature)
                        } else if let logits {
                            table.pointee.lm_chunk_backward(
                                cells, logits.raw, ids + at, slopes, rows, columns, Int64(first),
                                temperature, softcap)
                        }
                        withExtendedLifetime(logits) {}
                    }
                    if let dHidden {
                        Matmul.addProduct(
                            dHidden.rowsView(at, size), d.rowsView(start, size), part, packed: back)
                    }
                }
                if let dWeight {
                    Matmul.addTransposed(
                        dWeight.rowsView(first, width), d, hidden.rowsView(block, count))
                }
            }
        }
        withExtendedLifetime((hidden, weight, targets, dHidden, dWeight)) {}
    }
}
