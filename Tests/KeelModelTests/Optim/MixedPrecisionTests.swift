import KeelCore
import KeelModel
import KeelTensor
import KeelTestSupport
import Testing

/// bf16 computes, f32 remembers: masters, moments and gradients are f32, and what is saved are the masters.
@Suite struct MixedPrecisionTests {
    private let batch = PackedBatch(
        sequences: [[3, 1, 4, 1, 5, 9, 2, 6], [5, 3, 5, 8, 9, 7, 9], [3, 2, 3, 8, 4, 6]],
        promptLengths: [1, 2, 1])

    /// Losses before each step.
    private func train(_ model: Model, steps: Int) throws -> [Double] {
        let optimizer = AdamW(model.parameters)
        return try (0..<steps).map { _ in
            model.zeroGradients()
            let tape = Tape()
            let loss = try model.logprobs(batch, tape: tape).logprobs.mean().scale(-1)
            tape.backward(loss)
            optimizer.step(learningRate: 3e-3, maxGradNorm: 1)
            return loss.item()
        }
    }

    @Test(arguments: ["llama", "gpt2"])
    func bf16TrainsAsF32Does(family: String) throws {
        let runs = try [DType.f32, .bf16].map { dtype in
            try train(try tinyModel(family, dtype: dtype), steps: 60)
        }
        for losses in runs {
            #expect(losses.allSatisfy { $0.isFinite })
            let last = try #require(losses.last)
            #expect(last < losses[0] / 4, "\(losses)")
        }
        // Eight bits of a logit are about 1 %; over the run the two stay together.
        for (a, b) in zip(runs[0], runs[1]) { #expect(abs(a - b) < 0.05 * runs[0][0]) }
        #expect(runs[0] != runs[1])
    }

    /// Steps far below the resolution of bf16 add up in the masters until they show.
    @Test func smallStepsAreNotLost() throws {
        let model = try tinyModel("llama", dtype: .bf16)
        let parameter = try #require(
            model.parameters.first { $0.name.hasSuffix("layers.0.mlp.up_proj.weight") })
        let optimizer = AdamW([parameter])
        let (master, compute) = (parameter.master.floats(), parameter.compute.floats())
        func step() {
            parameter.zeroGradient()
            parameter.gradient.copy(
                from: Tensor(filled: 1, shape: parameter.shape, dtype: .f32, device: testDevice))
            optimizer.step(learningRate: 1e-5)
        }
        step()
        let moved = zip(parameter.master.floats(), master).filter { $0 != $1 }.count
        #expect(moved == parameter.count)
        let shown = zip(parameter.compute.floats(), compute).filter { $0 != $1 }.count
        #expect(shown < parameter.count / 4)
        for _ in 0..<2000 { step() }
        for (new, old) in zip(parameter.compute.floats(), compute) {
            #expect(abs(old - new - 0.02) < 0.009)
        }
        // The computing copy is the master, rounded.
        #expect(parameter.compute.bytes() == parameter.master.cast(.bf16).bytes())
    }

    @Test func whatIsSavedAreTheMasters() throws {
        let model = try tinyModel("llama", dtype: .bf16)
        _ = try train(model, steps: 3)
        // They hold what bf16 cannot.
        let isRounded = model.parameters.map {
            $0.master.bytes() == $0.master.cast(.bf16).cast(.f32).bytes()
        }
        #expect(isRounded.contains(false))
        try withFolder { folder in
            try model.save(to: folder)
            for dtype in [DType.f32, .bf16] {
                let again = try Model.load(directory: folder, dtype: dtype, device: testDevice)
                #expect(again.storedType == .f32)
                for (a, b) in zip(model.parameters, again.parameters) {
                    #expect(a.name == b.name)
                    #expect(a.master.bytes() == b.master.bytes())
                }
                if dtype == .bf16 {
                    for (a, b) in zip(model.parameters, again.parameters) {
                        #expect(a.compute.bytes() == b.compute.bytes())
                    }
                }
            }
            #expect(
                try ModelConfig(path: Files.join(folder, "config.json")).dtypeName == "float32")
        }
    }

    /// A frozen model in bf16 has two bytes a weight, and computes what one with masters does.
    @Test(arguments: ["llama_bf16", "gpt2", "gemma2"])
    func aFrozenModelHasNoMasters(name: String) throws {
        let device = Device.cpu(threads: 1)
        let frozen = try Model.load(
            directory: Fixture.model(name), dtype: .bf16, device: device,
            hasMaster: { _ in false })
        #expect(device.memory.used < frozen.parameterCount * 2 * 11 / 10)
        let trained = try Model.load(
            directory: Fixture.model(name), dtype: .bf16, device: testDevice)
        let results = try [frozen, trained].map {
            try $0.logprobs(batch, tape: Tape()).logprobs.bytes()
        }
        #expect(results[0] == results[1])
        #expect(frozen.parameters.allSatisfy { !$0.isTrained })
        // An adapter's own tensors are f32 under it, and a module that is saved starts from the weights.
        var config = LoRAConfig()
        config.targets = .names([name == "gpt2" ? "c_attn" : "q_proj"])
        config.modulesToSave = [name == "gpt2" ? "ln_f" : "norm"]
        let adapted = try frozen.adapted(config, seed: 1)
        #expect(adapted.trained.allSatisfy { $0.master.dtype == .f32 && $0.isTrained })
        #expect(try adapted.logprobs(batch, tape: Tape()).logprobs.bytes() == results[0])
    }
}
