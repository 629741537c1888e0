import KeelCore
import KeelModel
import KeelTensor
import KeelTestSupport
import Testing

/// A pass that keeps the inputs of the blocks alone has the gradients of one that keeps everything, to the bit.
@Suite struct RecomputationTests {
    static let sequences: [[Int32]] = (0..<3).map { row in
        let stream = RandomStream(seed: 2, place: "recomputation \(row)")
        return (0..<20 + 7 * row).map { Int32(stream.below(500, UInt64($0))) }
    }

    private func batch() -> PackedBatch {
        PackedBatch(sequences: RecomputationTests.sequences, promptLengths: [1, 4, 9])
    }

    /// Bytes of all outputs and of every gradient.
    private func result(
        _ model: Model, recomputing: Bool, _ batch: PackedBatch
    ) throws -> [String: [UInt8]] {
        model.recomputesActivations = recomputing
        model.zeroGradients()
        let tape = Tape()
        var wanted = Wanted()
        wanted.entropy = model.architecture.hasLanguageHead
        wanted.logprobs = wanted.entropy
        wanted.rows = [3, 8]
        let scores = try model.outputs(batch, wanted, tape: tape, temperature: 0.8)
        var seeds: [(output: Tensor, seed: Tensor)] = []
        for (number, output) in [scores.logprobs, scores.entropy, scores.rowStates].enumerated() {
            guard let output, output.isTracked else { continue }
            let values = (0..<output.count).map { Double(($0 + number) % 5) / 4 - 0.4 }
            seeds.append(
                (
                    output,
                    Tensor(values, shape: output.shape, dtype: output.dtype, device: testDevice)
                ))
        }
        tape.backward(seeds)
        var bytes = ["logprobs": scores.logprobs.bytes()]
        for parameter in model.trained { bytes[parameter.name] = parameter.gradient.bytes() }
        return bytes
    }

    private func expectSameBits(
        _ model: Model, _ batch: PackedBatch, _ note: String,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let kept = try result(model, recomputing: false, batch)
        let again = try result(model, recomputing: true, batch)
        #expect(kept.keys == again.keys, sourceLocation: sourceLocation)
        #expect(
            kept.values.contains { $0.contains { $0 != 0 } }, sourceLocation: sourceLocation)
        for (name, bytes) in kept {
            #expect(again[name] == bytes, "\(note): \(name)", sourceLocation: sourceLocation)
        }
    }

    @Test(arguments: VectorTests.names, [DType.f32, .bf16, .f64])
    func everyFamily(name: String, dtype: DType) throws {
        let model = try Model.load(
            directory: Fixture.model(name), dtype: dtype, device: testDevice)
        try expectSameBits(model, batch(), "\(name) in \(dtype)")
    }

    /// A frozen model under an adapter with dropout: the zeros come again, and the lowest block is trained
    /// although nothing below it is.
    @Test(arguments: ["llama", "gpt2", "phi3"], [0, 0.3])
    func adapters(name: String, dropout: Double) throws {
        var config = LoRAConfig()
        config.rank = 3
        config.dropout = dropout
        let model = try Model.load(
            directory: Fixture.model(name), dtype: .f32, device: testDevice
        ).adapted(config, seed: 1)
        for parameter in model.trained {
            let stream = RandomStream(seed: 9, place: parameter.name)
            parameter.assign(
                Tensor(
                    (0..<parameter.count).map { 0.2 * stream.normal(UInt64($0)) },
                    shape: parameter.shape, dtype: .f32, device: testDevice))
        }
        model.adapter?.draws = (seed: 4, step: 2)
        var batch = batch()
        batch.dropoutKeys = batch.ids.indices.map { UInt64($0) << 32 }
        try expectSameBits(model, batch, "\(name), dropout \(dropout)")
        let lowest = try #require(model.trained.first)
        #expect(lowest.name.contains(".0."))
        #expect(model.trained.allSatisfy { $0.gradient.doubles().contains { $0 != 0 } })
    }

    /// The draws are those of the forward pass, whatever happens between the two.
    @Test func aPassBetweenLeavesTheZerosAlone() throws {
        var config = LoRAConfig()
        config.dropout = 0.5
        let model = try tinyModel(
            "llama", vocabulary: 500, changes: ["max_position_embeddings": 64]
        )
        .adapted(config, seed: 1)
        model.recomputesActivations = true
        var batch = batch()
        batch.dropoutKeys = batch.ids.indices.map { UInt64($0) << 32 }
        func gradients(disturbed: Bool) throws -> [[UInt8]] {
            model.zeroGradients()
            model.adapter?.draws = (seed: 4, step: 2)
            let tape = Tape()
            let loss = try model.logprobs(batch, tape: tape).logprobs.sum()
            if disturbed { model.adapter?.draws = (seed: 5, step: 3) }
            tape.backward(loss)
            return model.trained.map { $0.gradient.bytes() }
        }
        #expect(try gradients(disturbed: true) == gradients(disturbed: false))
    }

    /// Only the last block is trained: those below are neither kept nor run again.
    @Test func frozenBlocks() throws {
        let model = try tinyModel("llama", vocabulary: 500, changes: ["num_hidden_layers": 4])
        for parameter in model.parameters where !parameter.name.contains("layers.3") {
            parameter.isTrained = false
        }
        let short = PackedBatch(
            sequences: RecomputationTests.sequences.map { Array($0.prefix(20)) },
            promptLengths: [1, 4, 9])
        try expectSameBits(model, short, "frozen")
    }

    /// What the tape holds after the forward pass: the inputs of 24 blocks instead of all that is in them.
    @Test func memoryFalls() throws {
        let device = Device.cpu(threads: 1)
        let config: JSONObject = [
            "model_type": "llama", "vocab_size": 500, "hidden_size": 32, "intermediate_size": 96,
            "num_hidden_layers": 24, "num_attention_heads": 4, "num_key_value_heads": 2,
        ]
        let model = try Model.new(
            ModelConfig(config, path: "config.json"), seed: 1, device: device)
        func growth(recomputing: Bool) throws -> (forward: Int, peak: Int) {
            model.recomputesActivations = recomputing
            _ = model.trained.map(\.gradient)
            device.resetPeak()
            let before = device.memory.used
            let tape = Tape()
            let loss = try model.logprobs(batch(), tape: tape).logprobs.sum()
            let forward = device.memory.used - before
            tape.backward(loss)
            return (forward, device.memory.peak - before)
        }
        let kept = try growth(recomputing: false)
        let again = try growth(recomputing: true)
        let rows = RecomputationTests.sequences.reduce(0) { $0 + $1.count }
        // A block keeps four states, keys and values of half the width, and two vectors of 96; what norms and the
        // activation give is made again. The head keeps e^z.
        let block = 24 * rows * 4
        let head = rows * 500 * 4
        #expect(kept.forward > block * (4 * 32 + 2 * 16 + 2 * 96))
        #expect(kept.forward < block * (5 * 32 + 2 * 16 + 2 * 96 + 8) + head)
        #expect(again.forward < 26 * rows * 4 * 32 * 9 / 8)
        #expect(again.peak < kept.peak / 4)
    }
}
