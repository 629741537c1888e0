import KeelTensor
import KeelTestSupport
import Testing

/// Every fused operation against central differences in f64.
@Suite struct FusedGradientTests {
    let device = Device.cpu(threads: 2)
    let random = Generator("fused")

    func t(_ shape: [Int], _ number: Int, _ range: ClosedRange<Double> = -1...1) -> Tensor {
        random.tensor(shape, range, number: number, device)
    }

    @Test func linear() {
        gradCheck([t([5, 7], 0), t([3, 7], 1), t([3], 2)], "linear") {
            NN.linear($0[0], weight: $0[1], bias: $0[2])
        }
        gradCheck([t([5, 7], 0), t([7, 3], 1), t([3], 2)], "linear, [in, out]") {
            NN.linear($0[0], weightIO: $0[1], bias: $0[2])
        }
        gradCheck([t([5, 7], 0), t([3, 7], 1), t([3], 2), t([5, 3], 3)], "linear, added to") {
            NN.linear($0[0], weight: $0[1], bias: $0[2], adding: [$0[3], $0[3]])
        }
        gradCheck([t([5, 7], 0), t([7, 7], 1), t([3, 7], 2)], "several linears of one input") {
            let x = $0[0].exp()
            let y = NN.linear(x, weightIO: $0[1], adding: [x])
            return NN.linear(x, weight: $0[2], adding: [NN.linear(y, weight: $0[2])])
        }
    }

    /// What a backward pass makes again instead of keeping has the bits it had.
    @Test(arguments: [DType.f32, .bf16, .f64]) func remadeInputsOfALinearLayer(dtype: DType) {
        let weight = t([7, 10], 3).cast(dtype)
        let norm = t([10], 4).cast(dtype)
        let seed = t([70, 7], 5).cast(dtype)
        func gradients(_ f: (Tensor, Tensor) -> Tensor, keeping: Bool) -> [[UInt8]] {
            let tape = Tape()
            let leaves = [
                tape.leaf(t([70, 10], 1).cast(dtype)), tape.leaf(t([70, 10], 2).cast(dtype)),
                tape.leaf(weight),
            ]
            let middle = f(leaves[0], leaves[1])
            // Under another shape a tensor forgets how it was made.
            let x = keeping ? middle.reshaped([70, 10]) : middle
            tape.backward([(NN.linear(x, weight: leaves[2]), seed)])
            return leaves.compactMap { tape.gradient(of: $0)?.bytes() }
        }
        let kept = (0..<11).map { UInt64(0x9E37_79B9) << UInt64($0) }
        let cases: [(String, (Tensor, Tensor) -> Tensor)] = [
            ("swiglu", { NN.swiglu($0, $1) }), ("geglu", { NN.geglu($0, $1) }),
            ("gelu", { a, _ in NN.gelu(a, approximate: .erf) }), ("silu", { a, _ in NN.silu(a) }),
            ("RMSNorm", { a, _ in NN.rmsNorm(a, weight: norm, eps: 1e-5) }),
            ("LayerNorm", { a, _ in NN.layerNorm(a, weight: norm, eps: 1e-5) }),
            ("dropout", { a, _ in NN.dropout(a, kept: kept, scale: 1.25) }),
            (
                "dropout of a norm",
                { a, _ in
                    NN.dropout(NN.rmsNorm(a, weight: norm, eps: 1e-5), kept: kept, scale: 1.25)
                }
            ),
        ]
        for (name, f) in cases {
            let again = gradients(f, keeping: false)
            #expect(again.count >= 2 && again == gradients(f, keeping: true), "\(name)")
        }
    }

    @Test func dropoutScalesWhatItKeeps() {
        let x = t([3, 30], 0)
        let kept: [UInt64] = [0b1011, 1 << 63 - 1]
        let y = NN.dropout(x, kept: kept, scale: 2).doubles()
        for (cell, value) in x.doubles().enumerated() {
            let isKept = kept[cell / 64] >> UInt64(cell % 64) & 1 == 1
            #expect(y[cell] == (isKept ? 2 * value : 0))
        }
        gradCheck([x], "dropout") { NN.dropout($0[0], kept: kept, scale: 2) }
    }

    @Test func embeddingAddsRepeatedRows() {
        let ids = Tensor([Int32(3), 0, 3, 1, 3], device: device)
        gradCheck([t([4, 6], 0)], "embedding") { NN.embedding($0[0], ids: ids) }
    }

    @Test func thePaddingRowHasNoGradient() {
        let ids = Tensor([Int32(3), 0, 3, 1], device: device)
        let tape = Tape()
        let weight = tape.leaf(t([4, 2], 0))
        tape.backward(NN.embedding(weight, ids: ids, padding: 3).sum())
        #expect(tape.gradient(of: weight)?.doubles() == [1, 1, 1, 1, 0, 0, 0, 0])
    }

    @Test(arguments: [5, 16, 37]) func norms(columns: Int) {
        gradCheck([t([3, columns], 0), t([columns], 1)], "RMSNorm") {
            NN.rmsNorm($0[0], weight: $0[1], eps: 1e-5, offset: 1)
        }
        gradCheck([t([3, 2 * columns], 0), t([columns], 1)], "RMSNorm per head") {
            NN.rmsNorm($0[0], weight: $0[1], eps: 1e-5)
        }
        gradCheck([t([3, columns], 0), t([columns], 1), t([columns], 2)], "LayerNorm") {
            NN.layerNorm($0[0], weight: $0[1], bias: $0[2], eps: 1e-5)
        }
    }

    @Test func activations() {
        gradCheck([t([4, 9], 0, -4...4)], "silu") { NN.silu($0[0]) }
        gradCheck([t([4, 9], 0, -4...4), t([4, 9], 1)], "swiglu") { NN.swiglu($0[0], $0[1]) }
        for kind in [NN.GELUKind.tanh, .erf] {
            gradCheck([t([4, 9], 0, -4...4), t([4, 9], 1)], "geglu \(kind)") {
                NN.geglu($0[0], $0[1], approximate: kind)
            }
        }
        gradCheck([t([4, 9], 0, -4...4)], "gelu tanh") { NN.gelu($0[0], approximate: .tanh) }
        gradCheck([t([4, 9], 0, -4...4)], "gelu erf") { NN.gelu($0[0], approximate: .erf) }
        gradCheck([t([4, 9], 0), t([4, 9], 1)], "add, scale") {
            NN.scale(NN.add($0[0], $0[1]), 0.7)
        }
    }

    @Test func rope() {
        let positions = Tensor([Int32(0), 1, 7, 300], device: device)
        gradCheck([t([4, 2 * 10], 0)], "rope") {
            NN.rope($0[0], heads: 2, positions: positions, frequencies: [1, 0.3, 0.01], scale: 1.5)
        }
    }

    /// Lengths around the block sizes, shared prefixes, grouped heads, windows, soft caps.
    @Test(
        arguments: [
            (AttentionLayout(lengths: [1, 5, 9]), nil, nil),
            (AttentionLayout(lengths: [5, 66]), 7, nil),
            (AttentionLayout(lengths: [70]), nil, 2.0),
            (
                AttentionLayout(spans: [
                    .init(queries: 0..<6, keys: [0..<6]),
                    .init(queries: 6..<10, keys: [0..<6, 6..<10]),
                    .init(queries: 10..<15, keys: [0..<6, 10..<15]),
                ]), nil, 1.0
            ),
            (
                AttentionLayout(spans: [
                    .init(queries: 0..<6, keys: [0..<6]),
                    .init(queries: 6..<12, keys: [0..<6, 6..<12]),
                ]), 4, nil
            ),
        ] as [(AttentionLayout, Int?, Float?)])
    func attention(layout: AttentionLayout, window: Int?, softcap: Float?) {
        let rows = layout.spans.map(\.queries.upperBound).max() ?? 0
        gradCheck(
            [t([rows, 4 * 5], 0, -2...2), t([rows, 2 * 5], 1, -2...2), t([rows, 2 * 5], 2)],
            "attention", cells: 24
        ) {
            NN.attention(
                $0[0], $0[1], $0[2], heads: 4, kvHeads: 2, layout: layout, scale: 0.4,
                window: window,
                softcap: softcap)
        }
    }

    @Test(
        arguments: [(1, nil, false), (0.7, nil, true), (1.3, 2.0, true)] as [(Float, Float?, Bool)])
    func logprobs(temperature: Float, softcap: Float?, entropy: Bool) {
        let targets = Tensor([Int32(0), 20, 3, 3], device: device)
        gradCheck([t([4, 6], 0), t([21, 6], 1)], "logprobs") {
            let r = NN.logprobs(
                $0[0], weight: $0[1], targets: targets, temperature: temperature, softcap: softcap,
                entropy: entropy)
            return r.entropy.map { r.logprobs + $0.scale(0.3) } ?? r.logprobs
        }
    }

    /// Room for e^z of nothing, of one chunk of three and of all: the same bits.
    @Test(arguments: [.f64, .f32, .bf16] as [DType])
    func roomForLogitsChangesNoBit(dtype: DType) {
        let (rows, vocabulary, size) = (70, 5000, 8)
        let hidden = t([rows, size], 0, -2...2).cast(dtype)
        let weight = t([vocabulary, size], 1, -2...2).cast(dtype)
        let targets = Tensor((0..<rows).map { Int32($0 * 71 % vocabulary) }, device: device)
        let slopes = t([rows], 2).cast(dtype.accumulator)
        func gradients(keeping bytes: Int, entropy: Double) -> [[Double]] {
            let tape = Tape()
            let leaves = [tape.leaf(hidden), tape.leaf(weight)]
            let r = NN.logprobs(
                leaves[0], weight: leaves[1], targets: targets, temperature: 0.8, entropy: true,
                vocabulary: true, keeping: bytes)
            guard let h = r.entropy, let v = r.vocabLogprobs else { return [] }
            tape.backward([
                (r.logprobs, slopes), (v, slopes.scale(0.5)), (h, slopes.scale(entropy)),
            ])
            return [r.logprobs.doubles()] + leaves.map { tape.gradient(of: $0)?.doubles() ?? [] }
        }
        for entropy in [0, 0.3] {
            let whole = gradients(keeping: 0, entropy: entropy)
            for chunks in [1, 3] {
                let some = gradients(
                    keeping: rows * chunks * LogitTile.chunk * dtype.size, entropy: entropy)
                #expect(some == whole)
            }
        }
        // The way by z itself, which an entropy takes, tends to the one by e^z. bf16: a cell of p is rounded once more.
        let bound: Tolerance =
            switch dtype {
            case .f64: Tolerance(relative: 1e-12, absolute: 1e-13)
            case .f32: .f32Reduction(rows)
            default: Tolerance(relative: 0x1p-7, absolute: 0x1p-8)
            }
        let byLogits = gradients(keeping: 0, entropy: 1e-30)
        for (a, b) in zip(byLogits, gradients(keeping: 0, entropy: 0)) { expectClose(a, b, bound) }
    }

    /// The mean log-probability over the vocabulary: its value from the logits, and its gradient.
    @Test(
        arguments: [(1, nil, false), (0.7, nil, true), (1.3, 2.0, true)] as [(Float, Float?, Bool)])
    func vocabLogprobs(temperature: Float, softcap: Float?, entropy: Bool) {
        let targets = Tensor([Int32(0), 20, 3, 3], device: device)
        let (hidden, weight) = (t([4, 6], 0), t([21, 6], 1))
        func run(_ h: Tensor, _ w: Tensor) -> NN.Logprobs {
            NN.logprobs(
                h, weight: w, targets: targets, temperature: temperature, softcap: softcap,
                entropy: entropy, vocabulary: true)
        }
        let logits = NN.logits(hidden, weight: weight)
        let capped = softcap.map { cap in
            logits.scale(1 / Double(cap)).tanh().scale(Double(cap))
        }
        let z = (capped ?? logits).scale(1 / Double(temperature))
        let got = run(hidden, weight)
        expectClose(
            got.vocabLogprobs?.doubles() ?? [], z.logSoftmax().mean(axis: -1).doubles(),
            Tolerance(relative: 1e-12, absolute: 1e-12))
        #expect(
            got.entropy?.doubles()
                == (entropy
                    ? NN.logprobs(
                        hidden, weight: weight, targets: targets, temperature: temperature,
                        softcap: softcap,
                        entropy: true
                    ).entropy?.doubles() : nil))
        gradCheck([hidden, weight], "vocab_logprobs") {
            let r = run($0[0], $0[1])
            let vocab = r.vocabLogprobs ?? r.logprobs
            return r.logprobs + vocab.scale(0.7) + (r.entropy ?? vocab).scale(0.3)
        }
    }
}
