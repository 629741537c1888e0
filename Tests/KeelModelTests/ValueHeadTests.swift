import Foundation
import KeelCore
import KeelModel
import KeelTensor
import KeelTestSupport
import Testing

@Suite struct ValueHeadTests {
    private typealias Numbers = KeelTestSupport.Generator

    private func head(
        _ kind: ValueHead.Kind, size: Int = 16, maxValue: Double? = 3, dropout: Double = 0,
        dtype: DType = .f64
    ) throws -> ValueHead {
        var settings = ValueHead.Settings()
        settings.heads = 4
        settings.maxValue = maxValue
        settings.dropout = dropout
        let head = try ValueHead(
            kind, hiddenSize: size, settings: settings, seed: 3, dtype: dtype, device: testDevice)
        // What starts at 0 would hide mistakes.
        for parameter in head.parameters where parameter.name.hasSuffix("bias") || kind == .linear {
            parameter.assign(
                Numbers(parameter.name).tensor(parameter.shape, -0.5...0.5, testDevice))
        }
        return head
    }

    private func cells(_ head: ValueHead, _ name: String) -> [Double] {
        head.parameter(named: name)?.master.doubles() ?? []
    }

    /// y = W x + b, row by row.
    private func dense(_ w: [Double], _ b: [Double], _ x: [Double]) -> [Double] {
        b.indices.map { i in
            b[i] + zip(w[i * x.count..<(i + 1) * x.count], x).reduce(0) { $0 + $1.0 * $1.1 }
        }
    }

    /// The definition, written down again: one query, some heads, softmax over the prompt's states.
    private func attention(_ head: ValueHead, _ states: [[Double]]) -> Double {
        let d = head.hiddenSize
        let n = head.settings.heads
        let (w, b) = (cells(head, "in_proj.weight"), cells(head, "in_proj.bias"))
        func project(_ x: [Double], _ part: Int) -> [Double] {
            dense(
                Array(w[part * d * d..<(part + 1) * d * d]), Array(b[part * d..<(part + 1) * d]), x)
        }
        let q = project(cells(head, "query"), 0)
        let (k, v) = (states.map { project($0, 1) }, states.map { project($0, 2) })
        var mixed: [Double] = []
        for h in 0..<n {
            let range = h * d / n..<(h + 1) * d / n
            let scores = k.map { k in
                range.reduce(0) { $0 + q[$1] * k[$1] } / (Double(d) / Double(n)).squareRoot()
            }
            let weights = scores.map { exp($0 - (scores.max() ?? 0)) }
            let sum = weights.reduce(0, +)
            mixed += range.map { c in zip(weights, v).reduce(0) { $0 + $1.0 * $1.1[c] } / sum }
        }
        let out = dense(cells(head, "out_proj.weight"), cells(head, "out_proj.bias"), mixed)
        let z = dense(cells(head, "linear.weight"), cells(head, "linear.bias"), out)[0]
        return (head.settings.maxValue ?? .nan) / (1 + exp(-z))
    }

    static let lengths = [3, 1, 6]

    private func states(_ count: Int = 10, size: Int = 16) -> Tensor {
        Numbers("states").tensor([count, size], -2...2, testDevice)
    }

    @Test func attentionPoolIsItsDefinition() throws {
        let head = try head(.attentionPool)
        let x = states()
        let rows = (0..<10).map { x.rowsView($0, 1).doubles() }
        let got = head.pooled(x, lengths: ValueHeadTests.lengths, tape: Tape(recording: false))
        expectClose(
            got.doubles(),
            [rows[0..<3], rows[3..<4], rows[4..<10]].map { attention(head, Array($0)) },
            Tolerance(relative: 1e-12, absolute: 1e-12))
    }

    @Test func mlpPoolIsItsDefinition() throws {
        let head = try head(.mlpPool)
        let x = states()
        let got = head.pooled(x, lengths: ValueHeadTests.lengths, tape: Tape(recording: false))
        let cellsOfX = x.doubles()
        let mean = (0..<16).map { c -> Double in
            let sum: Double = (4..<10).reduce(0) { $0 + cellsOfX[$1 * 16 + c] }
            return sum / 6
        }
        let hidden = dense(cells(head, "linear1.weight"), cells(head, "linear1.bias"), mean)
        let active = hidden.map { $0 > 0 ? $0 : 0.0 }
        let z = dense(cells(head, "linear2.weight"), cells(head, "linear2.bias"), active)[0]
        let want = 3.0 / (1.0 + exp(-z))
        expectClose([got.doubles()[2]], [want], Tolerance(relative: 1e-12, absolute: 1e-12))
    }

    @Test func linearReadsEveryStateOrTheLast() throws {
        let head = try head(.linear, maxValue: nil)
        let x = states()
        let each = head.values(x, tape: Tape(recording: false)).doubles()
        let want = (0..<10).map {
            dense(
                cells(head, "linear.weight"), cells(head, "linear.bias"),
                x.rowsView($0, 1).doubles())[0]
        }
        expectClose(each, want, Tolerance(relative: 1e-12, absolute: 1e-12))
        let last = head.pooled(x, lengths: ValueHeadTests.lengths, tape: Tape(recording: false))
        #expect(last.doubles() == [each[2], each[3], each[9]])
        let new = try ValueHead(.linear, hiddenSize: 16, seed: 1, device: testDevice)
        #expect(
            new.values(x, tape: Tape(recording: false)).doubles()
                == [Double](repeating: 0, count: 10))
    }

    /// A prompt's value does not depend on the prompts beside it, to the bit.
    @Test(arguments: ValueHead.Kind.allCases)
    func aloneOrTogether(kind: ValueHead.Kind) throws {
        let head = try head(kind, dtype: .f32)
        let x = states().cast(.f32)
        let together = head.pooled(x, lengths: ValueHeadTests.lengths, tape: Tape(recording: false))
        var start = 0
        for (i, length) in ValueHeadTests.lengths.enumerated() {
            let alone = head.pooled(
                x.rowsView(start, length), lengths: [length], tape: Tape(recording: false))
            #expect(alone.doubles()[0] == together.doubles()[i])
            start += length
        }
    }

    @Test(arguments: ValueHead.Kind.allCases, [0, 0.4])
    func gradients(kind: ValueHead.Kind, dropout: Double) throws {
        let head = try head(kind, dropout: dropout)
        let x = states()
        let targets = Tensor([0.3, 1, 2.5], device: testDevice)
        let draws = ValueHead.Dropout(seed: 1, step: 4, rowIDs: [5, 6, 9])
        try expectGradients(of: head.parameters) { tape in
            let values = head.pooled(
                x, lengths: ValueHeadTests.lengths, dropout: dropout > 0 ? draws : nil, tape: tape)
            return (values - targets).square().mean()
        }
    }

    /// The draws are a row's own, differ from step to step, and keep the mean.
    @Test func dropoutIsDrawnByRowAndStep() throws {
        let head = try head(.attentionPool, dropout: 0.3)
        let x = states()
        func values(_ ids: [UInt64], step: Int, _ lengths: [Int], _ x: Tensor) -> [Double] {
            head.pooled(
                x, lengths: lengths, dropout: .init(seed: 1, step: step, rowIDs: ids),
                tape: Tape(recording: false)
            ).doubles()
        }
        let whole = values([7, 8, 9], step: 2, [3, 1, 6], x)
        #expect(values([9], step: 2, [6], x.rowsView(4, 6))[0] == whole[2])
        #expect(values([7, 8, 9], step: 3, [3, 1, 6], x) != whole)
        #expect(values([7, 8, 10], step: 2, [3, 1, 6], x)[2] != whole[2])
        let still = head.pooled(x, lengths: [3, 1, 6], tape: Tape(recording: false)).doubles()
        #expect(still != whole)
    }

    @Test(arguments: ValueHead.Kind.allCases)
    func savedAndLoadedIsTheSame(kind: ValueHead.Kind) throws {
        let head = try head(kind, dtype: .f32)
        try withFolder { folder in
            try head.save(to: folder)
            let other = try ValueHead(
                kind, hiddenSize: 16, settings: head.settings, seed: 99, device: testDevice)
            try other.load(from: folder)
            #expect(
                other.parameters.map { $0.master.bytes() }
                    == head.parameters.map { $0.master.bytes() })
            let wide = try ValueHead(
                kind, hiddenSize: 32, settings: head.settings, seed: 99, device: testDevice)
            let error = #expect(throws: KeelError.self) { try wide.load(from: folder) }
            #expect(error?.what.hasPrefix("the value head has no ") == true)
        }
    }

    @Test func headsMustDivideTheStates() throws {
        let error = #expect(throws: KeelError.self) {
            _ = try ValueHead(.attentionPool, hiddenSize: 12, seed: 1, device: testDevice)
        }
        #expect(error?.what == "8 attention heads cannot share states of 12 cells")
    }

    /// LoL-RL's own numbers, where the reference vectors lie beside the project.
    @Test func theAuthorsNumbers() throws {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../../../shared/vectors/offline/alol_value_head.json")
            .standardized.path
        guard Files.exists(path) else { return }
        let names = [
            "seq_query_weights": "query",
            "source_seq_multihead_attn.in_proj_weight": "in_proj.weight",
            "source_seq_multihead_attn.in_proj_bias": "in_proj.bias",
            "source_seq_multihead_attn.out_proj.weight": "out_proj.weight",
            "source_seq_multihead_attn.out_proj.bias": "out_proj.bias",
            "summary.weight": "linear.weight", "summary.bias": "linear.bias",
        ]
        let cases = try JSON.parse(try Files.read(path), name: path)["cases"]?.array ?? []
        var checked = 0
        for item in cases where item["ref"]?.string == "attn" {
            let inputs = try #require(item["inputs"]?.object)
            guard let hidden = inputs["hidden"], inputs["mask"] == nil else { continue }
            let shape = try #require(hidden["shape"]?.ints)
            var settings = ValueHead.Settings()
            settings.heads = try #require(item["hyper"]?["num_heads"]?.int)
            settings.maxValue = try #require(item["hyper"]?["max_value"]?.double)
            let head = try ValueHead(
                .attentionPool, hiddenSize: shape[2], settings: settings, seed: 1, dtype: .f64,
                device: testDevice)
            for (theirs, ours) in names {
                let values = try #require(inputs["param.\(theirs)"]?["data"]?.doubles)
                let parameter = try #require(head.parameter(named: ours))
                parameter.assign(Tensor(values, shape: parameter.shape, device: testDevice))
            }
            let x = Tensor(
                try #require(hidden["data"]?.doubles), shape: [shape[0] * shape[1], shape[2]],
                device: testDevice)
            let tape = Tape()
            let values = head.pooled(
                x, lengths: [Int](repeating: shape[1], count: shape[0]), tape: tape)
            let bar = Tolerance(relative: 1e-9, absolute: 1e-12)
            expectClose(
                values.doubles(), try #require(item["outputs"]?["value"]?["data"]?.doubles), bar)
            guard let target = inputs["target"]?["data"]?.doubles else { continue }
            let mse = (values - Tensor(target, device: testDevice)).square().mean()
            tape.backward(mse)
            for (theirs, ours) in names {
                guard let want = item["grads"]?["param.\(theirs)"]?["data"]?.doubles else {
                    continue
                }
                expectClose(
                    try #require(head.parameter(named: ours)).gradient.doubles(), want, bar, ours)
                checked += 1
            }
        }
        #expect(checked >= 14)
    }
}
