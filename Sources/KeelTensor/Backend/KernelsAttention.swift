import CKernels
import KeelCore

/// Attention as the kernels see it: one entry per packed sequence.
struct AttentionPlan {
    let layout: AttentionLayout
    let heads: Int, kvHeads: Int, dim: Int
    let scale: Double, softcap: Double
    let window: Int

    /// Calls `body` with the kernel's description of each span, alive while it runs.
    private func withSpans<R>(_ body: ([ck_attention]) -> R) -> R {
        let flat = layout.spans.flatMap { span in
            span.keys.flatMap { [Int64($0.lowerBound), Int64($0.count)] }
        }
        return flat.withUnsafeBufferPointer { ranges in
            var from = 0
            let spans = layout.spans.map { span in
                defer { from += 2 * span.keys.count }
                return ck_attention(
                    ranges: ranges.baseAddress.map { $0 + from },
                    range_count: Int64(span.keys.count),
                    total: Int64(span.keyCount), queries: Int64(span.queries.count),
                    first: Int64(span.queries.lowerBound), dim: Int64(dim),
                    q_stride: Int64(heads * dim),
                    kv_stride: Int64(kvHeads * dim), window: Int64(window), flat: 0,
                    scale: scale, softcap: softcap)
            }
            return body(spans)
        }
    }

    /// The output and log Σ e^s per row and head.
    func forward(_ q: Tensor, _ k: Tensor, _ v: Tensor) -> (out: Tensor, lse: Tensor) {
        StageClock.measure(.attention, flops: 4 * pairs) { mixed(q, k, v) }
    }

    /// Whether every row of q is in a span; the others are 0 where they come out.
    private func covers(_ q: Tensor) -> Bool {
        layout.spans.reduce(0) { $0 + $1.queries.count } == q.rows
    }

    /// Cells of a head, over all pairs of a query and a key it sees and all heads.
    private var pairs: Double {
        let seen = layout.spans.reduce(0.0) { sum, span in
            let (n, all) = (Double(span.queries.count), Double(span.keyCount))
            return sum + n * all - n * (n - 1) / 2
        }
        return seen * Double(heads * dim)
    }

    private func mixed(_ q: Tensor, _ k: Tensor, _ v: Tensor) -> (out: Tensor, lse: Tensor) {
        let out = Kernels.like(q)
        let lse = Kernels.accumulator([q.rows, heads], like: q)
        if !covers(q) {
            Memory.zero(out)
            Memory.zero(lse)
        }
        let block = Int(CK_QUERY_BLOCK)
        // (span, first query): heads are taken inside, so that a tile is worth handing out.
        var tiles: [(span: Int, begin: Int)] = []
        for (i, span) in layout.spans.enumerated() {
            for begin in stride(from: 0, to: span.queries.count, by: block) {
                tiles.append((i, begin))
            }
        }
        let table = q.kernels
        let bytes = Int(table.pointee.attention_scratch(Int64(dim), 0))
        let group = heads / kvHeads
        withSpans { spans in
            q.device.pool.parallelFor(tiles.count * kvHeads) { i in
                let tile = tiles[i / kvHeads]
                let kvHead = i % kvHeads
                let scratch = Storage(bytes: bytes, device: q.device)
                if spans[tile.span].queries == 1, group > 1, group <= block {
                    oneToken(
                        spans[tile.span], group, kvHead, out, lse, q, k, v, scratch.base)
                    return
                }
                withUnsafePointer(to: spans[tile.span]) { span in
                    for head in kvHead * group..<(kvHead + 1) * group {
                        table.pointee.attention(
                            out.cell(head * dim), lse.cell(head), Int64(heads), q.cell(head * dim),
                            k.cell(kvHead * dim), v.cell(kvHead * dim), span, Int64(tile.begin),
                            Int64(min(block, Int(span.pointee.queries) - tile.begin)), scratch.base)
                    }
                }
                withExtendedLifetime(scratch) {}
            }
        }
        withExtendedLifetime((q, k, v)) {}
        return (out, lse)
    }

    /// The heads of one token that share keys, at once, as if they were queries: the same bits.
    private func oneToken(
        _ span: ck_attention, _ group: Int, _ kvHead: Int, _ out: Tensor, _ lse: Tensor,
        _ q: Tensor, _ k: Tensor, _ v: Tensor, _ scratch: UnsafeMutableRawPointer
    ) {
        var heads = span
        heads.queries = Int64(group)
        heads.first = 0
        heads.q_stride = Int64(dim)
        heads.flat = 1
        let head = Int(span.first) * self.heads + kvHead * group
        q.kernels.pointee.attention(
            out.cell(head * dim), lse.cell(head), 1, q.cell(head * dim), k.cell(kvHead * dim),
            v.cell(kvHead * dim), &heads, 0, Int64(group), scratch)
    }

    /// Gradients, zero where nothing flows: of q in its own type, of k and v, which many queries add to, in f32 (f64
    /// under f64).
    func backward(
        _ dout: Tensor, _ out: Tensor, _ lse: Tensor, _ q: Tensor, _ k: Tensor, _ v: Tensor
    )
        -> (q: Tensor, k: Tensor, v: Tensor)
    {
        StageClock.measure(.attention, flops: 8 * pairs) { flowBack(dout, out, lse, q, k, v) }
    }

    private func flowBack(
        _ dout: Tensor, _ out: Tensor, _ lse: Tensor, _ q: Tensor, _ k: Tensor, _ v: Tensor
    )
        -> (q: Tensor, k: Tensor, v: Tensor)
    {
        let type = q.dtype.accumulator
        let dq = Kernels.like(q)
        if !covers(q) { Memory.zero(dq) }
        let dk = Tensor(zeros: k.shape, dtype: type, device: q.device)
        let dv = Tensor(zeros: v.shape, dtype: type, device: q.device)
        let groups = layout.groups()
        let table = q.kernels
        let bytes = Int(table.pointee.attention_scratch(Int64(dim), 1))
        let group = heads / kvHeads
        withSpans { spans in
            q.device.pool.parallelFor(groups.count * kvHeads) { i in
                let kvHead = i % kvHeads
                let scratch = Storage(bytes: bytes, device: q.device)
                for number in groups[i / kvHeads] {
                    withUnsafePointer(to: spans[number]) { span in
                        for head in kvHead * group..<(kvHead + 1) * group {
                            table.pointee.attention_backward(
                                dq.cell(head * dim), dk.cell(kvHead * dim), dv.cell(kvHead * dim),
                                dout.cell(head * dim), out.cell(head * dim), lse.cell(head),
                                Int64(heads),
                                q.cell(head * dim), k.cell(kvHead * dim), v.cell(kvHead * dim),
                                span,
                                scratch.base)
                        }
                    }
                }
                withExtendedLifetime(scratch) {}
            }
        }
        withExtendedLifetime((dout, out, lse, q, k, v)) {}
        return (dq, dk, dv)
    }
}
