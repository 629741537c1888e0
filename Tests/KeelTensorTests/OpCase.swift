import KeelTensor
import KeelTestSupport
import Testing

/// One fused operation on fixed inputs, for laws that hold for all of them.
struct OpCase: Sendable, CustomTestStringConvertible {
    let name: String
    let shapes: [[Int]]
    /// The longest chain of additions in it, for tolerances.
    let terms: Int
    let run: @Sendable ([Tensor], Device) -> Tensor

    var testDescription: String { name }

    /// Output and gradients of all inputs, computed in `dtype` from the same numbers.
    func values(_ dtype: DType, _ device: Device) -> [Tensor] {
        let inputs = shapes.enumerated().map { i, shape in
            // Rounded to bf16 first: every type then starts from the same numbers.
            Generator(name).tensor(shape, number: i, dtype: .f64, device).cast(.bf16).cast(dtype)
        }
        let tape = Tape()
        let leaves = inputs.map { tape.leaf($0) }
        let y = run(leaves, device)
        let seed = Generator(name + " seed").tensor(y.shape, dtype: .f64, device).cast(.bf16).cast(
            y.dtype)
        tape.backward([(y, seed)])
        return [y.detach()] + leaves.compactMap { tape.gradient(of: $0) }
    }

    static func ids(_ values: [Int], _ device: Device) -> Tensor {
        Tensor(values.map { Int32($0) }, device: device)
    }

    /// Sizes that are no multiples of any block, and enough rows for several tiles.
    static let all: [OpCase] = [
        OpCase(name: "linear", shapes: [[300, 70], [50, 70], [50]], terms: 300) { x, _ in
            NN.linear(x[0], weight: x[1], bias: x[2])
        },
        OpCase(name: "linear, many rows", shapes: [[1051, 66], [130, 66]], terms: 1051) { x, _ in
            NN.linear(x[0], weight: x[1])
        },
        OpCase(name: "linear, [in, out]", shapes: [[131, 40], [40, 90]], terms: 131) { x, _ in
            NN.linear(x[0], weightIO: x[1])
        },
        OpCase(
            name: "linear, added to others",
            shapes: [[300, 70], [50, 70], [300, 50], [300, 50]],
            terms: 300
        ) { x, _ in
            NN.linear(x[0], weight: x[1], adding: [x[2], x[3]])
        },
        OpCase(
            name: "linear, several of one input",
            shapes: [[131, 40], [40, 40], [40, 40], [90, 40]], terms: 400
        ) { x, _ in
            // The sum's own gradient is there before those of the products.
            let shared = x[0] + x[0]
            let a = NN.linear(shared, weight: x[1], adding: [shared])
            let b = NN.linear(shared, weightIO: x[2])
            return Tensor.concat([a, b, NN.linear(shared, weight: x[3])], axis: 1)
        },
        OpCase(
            name: "linear, few rows of a wide product", shapes: [[7, 33], [1100, 33], [1100]],
            terms: 1100
        ) {
            x, _ in NN.linear(x[0], weight: x[1], bias: x[2])
        },
        OpCase(name: "embedding", shapes: [[11, 200]], terms: 64) { x, device in
            NN.embedding(x[0], ids: ids((0..<64).map { $0 * 7 % 11 }, device))
        },
        OpCase(name: "RMSNorm", shapes: [[700, 100], [100]], terms: 700) { x, _ in
            NN.rmsNorm(x[0], weight: x[1], eps: 1e-5)
        },
        OpCase(name: "LayerNorm", shapes: [[700, 100], [100], [100]], terms: 700) { x, _ in
            NN.layerNorm(x[0], weight: x[1], bias: x[2], eps: 1e-5)
        },
        OpCase(name: "rope", shapes: [[90, 3 * 24]], terms: 4) { x, device in
            NN.rope(
                x[0], heads: 3, positions: ids((0..<90).map { $0 * 5 }, device),
                frequencies: (0..<10).map { 1 / Float(1 << $0) })
        },
        OpCase(name: "swiglu", shapes: [[90, 211], [90, 211]], terms: 8) { x, _ in
            NN.swiglu(x[0], x[1])
        },
        OpCase(name: "geglu, tanh", shapes: [[90, 211], [90, 211]], terms: 8) { x, _ in
            NN.geglu(x[0], x[1])
        },
        OpCase(name: "geglu, erf", shapes: [[90, 211], [90, 211]], terms: 8) { x, _ in
            NN.geglu(x[0], x[1], approximate: .erf)
        },
        OpCase(name: "silu", shapes: [[90, 211]], terms: 8) { x, _ in NN.silu(x[0]) },
        OpCase(name: "gelu, tanh", shapes: [[90, 211]], terms: 8) { x, _ in NN.gelu(x[0]) },
        OpCase(name: "gelu, erf", shapes: [[90, 211]], terms: 8) { x, _ in
            NN.gelu(x[0], approximate: .erf)
        },
        OpCase(name: "residual", shapes: [[90, 211], [90, 211]], terms: 2) { x, _ in
            NN.scale(NN.add(x[0], x[1]), 3)
        },
        OpCase(
            name: "attention, packed", shapes: [[240, 4 * 20], [240, 2 * 20], [240, 2 * 20]],
            terms: 240
        ) { x, _ in
            NN.attention(
                x[0], x[1], x[2], heads: 4, kvHeads: 2,
                layout: AttentionLayout(lengths: [100, 1, 64, 75]),
                scale: 0.3)
        },
        OpCase(
            name: "attention, heads of 72 cells in groups of three",
            shapes: [[201, 6 * 72], [201, 2 * 72], [201, 2 * 72]], terms: 201
        ) { x, _ in
            NN.attention(
                x[0], x[1], x[2], heads: 6, kvHeads: 2,
                layout: AttentionLayout(spans: [
                    .init(queries: 0..<67, keys: [0..<67]),
                    .init(queries: 67..<172, keys: [0..<67, 67..<172]),
                    .init(queries: 172..<201, keys: [0..<67, 172..<201]),
                ]), scale: 0.12)
        },
        OpCase(
            name: "attention, heads of an odd size", shapes: [[130, 3 * 7], [130, 7], [130, 7]],
            terms: 130
        ) { x, _ in
            NN.attention(
                x[0], x[1], x[2], heads: 3, kvHeads: 1, layout: AttentionLayout(lengths: [130]),
                scale: 0.4)
        },
        OpCase(
            name: "attention, shared prefix, window, soft cap",
            shapes: [[200, 2 * 16], [200, 2 * 16], [200, 2 * 16]], terms: 200
        ) { x, _ in
            NN.attention(
                x[0], x[1], x[2], heads: 2, kvHeads: 2,
                layout: AttentionLayout(spans: [
                    .init(queries: 0..<90, keys: [0..<90]),
                    .init(queries: 90..<160, keys: [0..<90, 90..<160]),
                    .init(queries: 160..<200, keys: [0..<90, 160..<200]),
                ]), scale: 0.3, window: 80, softcap: 5)
        },
        OpCase(name: "logprobs", shapes: [[130, 40], [5000, 40]], terms: 400) { x, device in
            let r = NN.logprobs(
                x[0], weight: x[1], targets: ids((0..<130).map { $0 * 37 }, device),
                temperature: 0.9,
                entropy: true)
            return Tensor.concat([r.logprobs, r.entropy ?? r.logprobs])
        },
    ]
}
