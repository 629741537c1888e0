import KeelTensor
import KeelTestSupport
import Testing

/// Packed sequences do not see each other; shared prefixes are exact; rows do not depend on their company.
@Suite struct PackingTests {
    let device = Device.cpu(threads: 2)
    let heads = 2, dim = 12

    /// out, dq, dk, dv of attention over `rows` rows.
    func attention(_ layout: AttentionLayout, _ qkv: [Tensor], seed: Tensor) -> [Tensor] {
        let tape = Tape()
        let leaves = qkv.map { tape.leaf($0) }
        let y = NN.attention(
            leaves[0], leaves[1], leaves[2], heads: heads, kvHeads: heads, layout: layout,
            scale: 0.3)
        tape.backward([(y, seed)])
        return [y.detach()] + leaves.compactMap { tape.gradient(of: $0) }
    }

    @Test func changingOneSequenceChangesNoBitsOfOthers() {
        let lengths = [70, 33, 90]
        let random = Generator("packing")
        let inputs = (0..<4).map {
            random.tensor([193, heads * dim], number: $0, dtype: .f32, device)
        }
        let changed = inputs.enumerated().map { i, t in
            var cells = t.floats()
            for row in 70..<103 { for c in 0..<heads * dim { cells[row * heads * dim + c] += 1 } }
            return Tensor(cells, shape: t.shape, device: device)
        }
        let layout = AttentionLayout(lengths: lengths)
        let before = attention(layout, Array(inputs[..<3]), seed: inputs[3])
        let after = attention(layout, Array(changed[..<3]), seed: changed[3])
        for (a, b) in zip(before, after) {
            for (from, count) in [(0, 70), (103, 90)] {
                #expect(a.rowsView(from, count).bytes() == b.rowsView(from, count).bytes())
            }
            #expect(a.rowsView(70, 33).bytes() != b.rowsView(70, 33).bytes())
        }
    }

    /// Two branches over one prefix equal two full sequences; the prefix's gradients are the sums of the copies'.
    @Test func sharedPrefixEqualsSeparateCopies() {
        let random = Generator("prefix")
        let columns = heads * dim
        let (p, a, b) = (75, 20, 31)
        let shared = (0..<4).map { random.tensor([p + a + b, columns], number: $0, device) }
        let layout = AttentionLayout(spans: [
            .init(queries: 0..<p, keys: [0..<p]),
            .init(queries: p..<p + a, keys: [0..<p, p..<p + a]),
            .init(queries: p + a..<p + a + b, keys: [0..<p, p + a..<p + a + b]),
        ])
        let one = attention(layout, Array(shared[..<3]), seed: shared[3])
        // prefix, branch a, prefix, branch b; the second copy of the prefix gets no seed of its own.
        let order = Array(0..<p + a) + Array(0..<p) + Array(p + a..<p + a + b)
        let rows = Tensor(order.map { Int32($0) }, device: device)
        var copies = shared.map { NN.gatherRows($0, rows) }
        let live = order.indices.map { $0 >= p + a && $0 < p + a + p ? 0.0 : 1.0 }
        copies[3] = copies[3] * Tensor(live, shape: [order.count, 1], device: device)
        let two = attention(
            AttentionLayout(lengths: [p + a, p + b]), Array(copies[..<3]), seed: copies[3])
        func folded(_ t: Tensor, sum: Bool) -> [Double] {
            var cells = [Double](repeating: 0, count: (p + a + b) * columns)
            for (i, value) in t.doubles().enumerated() {
                let at = order[i / columns] * columns + i % columns
                cells[at] = sum ? cells[at] + value : value
            }
            return cells
        }
        let tolerance = Tolerance(relative: 1e-12, absolute: 1e-12)
        expectClose(one[0].doubles(), folded(two[0], sum: false), tolerance, "output")
        for i in 1...3 {
            expectClose(one[i].doubles(), folded(two[i], sum: true), tolerance, "gradient \(i)")
        }
    }

    /// One new query against a cache of keys gives the same row as the whole sequence.
    @Test func decodingWithACacheEqualsTheWholeSequence() {
        let random = Generator("cache")
        let qkv = (0..<3).map {
            random.tensor([130, heads * dim], number: $0, dtype: .f32, device)
        }
        let whole = NN.attention(
            qkv[0], qkv[1], qkv[2], heads: heads, kvHeads: heads,
            layout: AttentionLayout(lengths: [130]),
            scale: 0.3)
        for last in [0, 63, 64, 129] {
            let one = NN.attention(
                qkv[0].rowsView(last, 1), qkv[1], qkv[2], heads: heads, kvHeads: heads,
                layout: AttentionLayout(spans: [.init(queries: 0..<1, keys: [0..<last + 1])]),
                scale: 0.3)
            #expect(one.bytes() == whole.rowsView(last, 1).bytes(), "position \(last)")
        }
    }

    @Test func aWindowNarrowerThanTheSequenceForgets() {
        let random = Generator("window")
        let qkv = (0..<3).map { random.tensor([100, heads * dim], number: $0, device) }
        func run(_ k: Tensor) -> Tensor {
            NN.attention(
                qkv[0], k, qkv[2], heads: heads, kvHeads: heads,
                layout: AttentionLayout(lengths: [100]),
                scale: 0.3, window: 10)
        }
        var keys = qkv[1].doubles()
        for i in 0..<50 * heads * dim { keys[i] += 1 }
        let (a, b) = (run(qkv[1]), run(Tensor(keys, shape: qkv[1].shape, device: device)))
        #expect(a.rowsView(59, 41).bytes() == b.rowsView(59, 41).bytes())
        #expect(a.rowsView(58, 1).bytes() != b.rowsView(58, 1).bytes())
    }

    /// Decision 25: the same text alone and in a batch of up to 64.
    @Test(
        arguments: [DType.f32, .bf16], [(96, 288), (64, 512), (64, 1500), (576, 1536), (1536, 576)])
    func aRowOfAMatmulDoesNotDependOnTheBatch(_ dtype: DType, _ size: (k: Int, n: Int)) {
        let random = Generator("rows")
        let x = random.tensor([200, size.k], number: 0, dtype: dtype, device)
        let w = random.tensor([size.n, size.k], number: 1, dtype: dtype, device)
        let all = NN.linear(x, weight: w)
        let logits = NN.logits(x, weight: w)
        for rows in [1, 2, 3, 7, 8, 13, 31, 64, 65, 129] {
            let some = NN.linear(x.rowsView(0, rows), weight: w)
            let isSame = some.bytes() == all.rowsView(0, rows).bytes()
            #expect(isSame, "\(rows) rows")
            let z = NN.logits(x.rowsView(0, rows), weight: w)
            let isSameLogits = z.bytes() == logits.rowsView(0, rows).bytes()
            #expect(isSameLogits, "logits of \(rows) rows")
        }
    }

    @Test func rowsOutsideEverySpanAreZero() {
        let q = Tensor(filled: 1, shape: [5, heads * dim], dtype: .f32, device: device)
        let y = NN.attention(
            q, q, q, heads: heads, kvHeads: heads,
            layout: AttentionLayout(spans: [.init(queries: 1..<3, keys: [1..<3])]), scale: 1)
        #expect(y.rowsView(0, 1).floats().allSatisfy { $0 == 0 })
        #expect(y.rowsView(3, 2).floats().allSatisfy { $0 == 0 })
    }
}
