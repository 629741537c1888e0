import KeelCore
import KeelTensor
import KeelTestSupport
import Testing

@testable import KeelModel

/// A frozen model shares the cells of the one it was made of until those move.
@Suite struct SharedWeightsTests {
    private func bytes(_ model: Model) -> [[UInt8]] { model.parameters.map { $0.compute.bytes() } }

    /// AdamW with gradients of 1.
    private func step(_ model: Model) {
        for parameter in model.parameters {
            parameter.gradient.copy(
                from: Tensor(filled: 1, shape: parameter.shape, dtype: .f32, device: testDevice))
        }
        AdamW(model.parameters, weightDecay: 0.1).step(learningRate: 0.05)
    }

    @Test(arguments: [DType.f32, .bf16, .f64], ["llama", "gpt2"])
    func aStepMovesOneOfThem(dtype: DType, family: String) throws {
        let (model, alone) = try (tinyModel(family, dtype: dtype), tinyModel(family, dtype: dtype))
        let before = bytes(model)
        let frozen = model.frozen()
        #expect(bytes(frozen) == before && bytes(model) == before)
        #expect(frozen.parameters.allSatisfy { !$0.isTrained && $0.master.dtype == dtype })
        #expect(frozen.parameters.map(\.name) == model.parameters.map(\.name))
        for _ in 0..<2 {
            if dtype == .f64 {
                for own in [model, alone] {
                    for parameter in own.parameters { parameter.assign(parameter.master * 1.5) }
                }
            } else {
                step(model)
                step(alone)
            }
            #expect(bytes(frozen) == before)
            // As if nobody had shared anything.
            #expect(bytes(model) == bytes(alone) && bytes(model) != before)
            #expect(
                model.parameters.map { $0.master.bytes() }
                    == alone.parameters.map { $0.master.bytes() })
        }
    }

    /// Log-probs of the frozen one stay what the first one's were.
    @Test func passesSeeTheirOwnWeights() throws {
        let model = try tinyModel("llama", dtype: .bf16)
        let frozen = model.frozen()
        let batch = PackedBatch(sequences: [[3, 5, 7, 9]], promptLengths: [1])
        func logprobs(_ model: Model) throws -> [Double] {
            try model.logprobs(batch, tape: Tape(recording: false)).logprobs.doubles()
        }
        let before = try logprobs(model)
        #expect(try logprobs(frozen) == before)
        step(model)
        #expect(try logprobs(frozen) == before)
        #expect(try logprobs(model) != before)
    }

    /// What is lagged behind the policy is set into it for a while; the frozen model must not notice.
    @Test func laggedWeightsLeaveTheFrozenOnesAlone() throws {
        let model = try tinyModel("llama", dtype: .bf16)
        let lagged = LaggedWeights(model.parameters)
        step(model)
        let frozen = model.frozen()
        let before = bytes(frozen)
        lagged.with { #expect(bytes(frozen) == before && bytes(model) != before) }
        #expect(bytes(frozen) == before && bytes(model) == before)
    }

    /// Room is taken when the frozen model is made, and none later.
    @Test func memoryDoesNotGrowLater() throws {
        let device = Device.cpu(threads: 1)
        let model = try Model.load(
            directory: Fixture.model("llama_bf16"), dtype: .bf16, device: device)
        let frozen = model.frozen()
        let used = device.memory.used
        for parameter in model.parameters { parameter.refresh() }
        #expect(device.memory.used == used)
        withExtendedLifetime(frozen) {}
    }
}
