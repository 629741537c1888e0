import KeelCore
import KeelModel
import KeelTensor
import KeelTestSupport
import Testing

@Suite struct AdamWTests {
    private func parameter(
        _ values: [Double], shape: [Int]? = nil, compute: DType = .f32
    ) -> Parameter {
        Parameter(
            name: "w", master: Tensor(values.map(Float.init), shape: shape, device: testDevice),
            compute: compute)
    }

    private func setGradient(_ parameter: Parameter, _ values: [Double]) {
        parameter.gradient.copy(from: Tensor(values, shape: parameter.shape, device: testDevice))
    }

    /// The paper's formula, step by step in f64.
    @Test func threeStepsOfTheFormula() {
        let w = parameter([0.5, -1, 2, 0.25], shape: [2, 2])
        let optimizer = AdamW([w], beta1: 0.8, beta2: 0.95, eps: 1e-3, weightDecay: 0.1)
        var (x, m, v) = ([0.5, -1, 2, 0.25], [0.0, 0, 0, 0], [0.0, 0, 0, 0])
        for t in 1...3 {
            let g = x.indices.map { 0.3 * Double($0) - 0.4 * Double(t) }
            setGradient(w, g)
            optimizer.step(learningRate: 0.01 * Double(t))
            for i in x.indices {
                let lr = 0.01 * Double(t)
                m[i] = 0.8 * m[i] + 0.2 * g[i]
                v[i] = 0.95 * v[i] + 0.05 * g[i] * g[i]
                let c1 = 1 - [1, 0.8, 0.64, 0.512][t]
                let c2 = 1 - [1, 0.95, 0.9025, 0.857375][t]
                x[i] -= lr * 0.1 * x[i]
                x[i] -= lr * (m[i] / c1) / ((v[i] / c2).squareRoot() + 1e-3)
            }
        }
        expectClose(w.master.doubles(), x, .f32Reduction(16))
        #expect(optimizer.stepCount == 3)
    }

    @Test func decayOnlyOnTensorsOfTwoOrMoreAxes() {
        let (matrix, vector) = (parameter([1, 1], shape: [1, 2]), parameter([1, 1]))
        let optimizer = AdamW([matrix, vector], weightDecay: 0.5)
        optimizer.step(learningRate: 0.1)
        expectClose(matrix.master.doubles(), [0.95, 0.95], .f32Reduction(2))
        #expect(vector.master.doubles() == [1, 1])
    }

    /// torch's clip_grad_norm_: all gradients by max / (norm + 1e-6), never up.
    @Test(arguments: [(1.0, 0.1999999600), (100.0, 1), (0.0, 1)])
    func clippingScalesAllGradients(limit: Double, scale: Double) {
        // Without bias correction's help: eps is large, so the update is proportional to the gradient.
        let (a, b) = (parameter([0, 0]), parameter([0]))
        setGradient(a, [3, 0])
        setGradient(b, [4])
        let optimizer = AdamW([a, b], eps: 1e9)
        #expect(optimizer.step(learningRate: 1e9, maxGradNorm: limit) == 5)
        expectClose(
            a.master.doubles() + b.master.doubles(), [-3 * scale, 0, -4 * scale],
            Tolerance(relative: 1e-5))
        #expect(a.gradient.doubles() == [3, 0])
    }

    @Test func aNormThatIsNotFiniteChangesNothing() {
        let w = parameter([1, 2])
        setGradient(w, [.nan, 1])
        let optimizer = AdamW([w])
        #expect(optimizer.step(learningRate: 0.1, maxGradNorm: 1).isNaN)
        #expect(w.master.doubles() == [1, 2])
        #expect(optimizer.stepCount == 0)
    }

    @Test func theComputingCopyFollows() {
        let w = parameter([1, 2], compute: .bf16)
        setGradient(w, [1, -1])
        AdamW([w]).step(learningRate: 0.125)
        #expect(w.compute.dtype == .bf16)
        #expect(w.compute.floats() == w.master.cast(.bf16).floats())
        #expect(w.compute.floats() != [1, 2])
    }

    /// Saved and loaded in between, or not: the same bits.
    @Test func stateGoesThroughAFile() throws {
        try withFolder { folder in
            let path = Files.join(folder, "optimizer.safetensors")
            func make() throws -> (Model, AdamW) {
                let model = try tinyModel("llama")
                return (model, AdamW(model.parameters, weightDecay: 0.01))
            }
            func step(_ model: Model, _ optimizer: AdamW, _ ids: [Int32]) throws {
                model.zeroGradients()
                let tape = Tape()
                tape.backward(
                    try model.logprobs(
                        PackedBatch(sequences: [ids], promptLengths: [1]), tape: tape
                    ).logprobs.sum())
                optimizer.step(learningRate: 1e-2, maxGradNorm: 1)
            }
            let (a, first) = try make()
            try step(a, first, [1, 2, 3])
            try step(a, first, [4, 5, 6])
            try first.save(to: path)
            let (b, second) = try make()
            for (p, q) in zip(a.parameters, b.parameters) { q.assign(p.master) }
            try second.load(from: path)
            #expect(second.stepCount == 2)
            try step(a, first, [7, 8, 9])
            try step(b, second, [7, 8, 9])
            for (p, q) in zip(a.parameters, b.parameters) {
                #expect(p.master.bytes() == q.master.bytes(), "\(p.name)")
            }
        }
    }

    @Test func aStateOfAnotherModelIsRefused() throws {
        try withFolder { folder in
            let path = Files.join(folder, "optimizer.safetensors")
            try AdamW([parameter([1, 2, 3])]).save(to: path)
            let optimizer = AdamW([parameter([1, 2])])
            let error = try #require(throws: KeelError.self) { try optimizer.load(from: path) }
            #expect(error.what.contains("exp_avg.w"))
            #expect(optimizer.stepCount == 0)
        }
    }
}
