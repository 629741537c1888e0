import KeelCore
import KeelModel
import KeelTensor
import KeelTestSupport
import Testing

@Suite struct DecoderTests {
    static let families = ["llama", "gpt2"]

    static let sequences: [[Int32]] = [
        [3, 1, 4, 1, 5, 9, 2], [6, 5, 3], [5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6],
    ]

    private func logprobs(_ model: Model, _ batch: PackedBatch) throws -> [Double] {
        try model.logprobs(batch, tape: Tape(recording: false)).logprobs.doubles()
    }

    /// Sequences in one pack do not see each other.
    @Test(arguments: families)
    func packedEqualsAlone(family: String) throws {
        let model = try tinyModel(family, dtype: .f64)
        let packed = try logprobs(
            model, PackedBatch(sequences: DecoderTests.sequences, promptLengths: [1, 1, 1]))
        let alone = try DecoderTests.sequences.flatMap {
            try logprobs(model, PackedBatch(sequences: [$0], promptLengths: [1]))
        }
        expectClose(packed, alone, Tolerance(relative: 1e-12, absolute: 1e-12), family)
    }

    /// A prompt with two continuations: computed once, or once for each.
    @Test(arguments: families)
    func aSharedPromptChangesNothing(family: String) throws {
        let prompt: [Int32] = [3, 1, 4, 1]
        let sides: [[Int32]] = [[5, 9, 2, 6], [2, 7]]
        let separate = PackedBatch(
            sequences: sides.map { prompt + $0 }, promptLengths: sides.map { _ in prompt.count })
        let shared = PackedBatch(
            ids: prompt + sides[0].dropLast() + sides[1].dropLast(),
            positions: [0, 1, 2, 3, 4, 5, 6, 4],
            spans: [(0..<4, [0..<4]), (4..<7, [0..<4, 4..<7]), (7..<8, [0..<4, 7..<8])],
            scored: [3, 4, 5, 6, 3, 7], targets: sides[0] + sides[1])
        var results: [([Double], [[Double]])] = []
        for batch in [separate, shared] {
            let model = try tinyModel(family, dtype: .f64)
            let tape = Tape()
            let logprobs = try model.logprobs(batch, tape: tape).logprobs
            tape.backward(
                logprobs, seed: Tensor([0.5, -1, 2, 0.25, 1, -3], device: testDevice))
            results.append((logprobs.doubles(), model.parameters.map { $0.gradient.doubles() }))
        }
        let bar = Tolerance(relative: 1e-11, absolute: 1e-11)
        expectClose(results[0].0, results[1].0, bar, family)
        for (a, b) in zip(results[0].1, results[1].1) { expectClose(a, b, bar, family) }
    }

    /// Rows that nothing is read of leave the last block early; those that stay have the same bits.
    @Test(arguments: families, [DType.f32, .bf16])
    func rowsThatLeaveChangeNoBit(family: String, dtype: DType) throws {
        let model = try tinyModel(family, dtype: dtype)
        let sequences = DecoderTests.sequences
        let all = try logprobs(model, PackedBatch(sequences: sequences, promptLengths: [1, 1, 1]))
        let some = try logprobs(model, PackedBatch(sequences: sequences, promptLengths: [4, 2, 9]))
        #expect(some == Array(all[3..<6] + all[7..<8] + all[16..<18]))
    }

    /// A later token changes nothing before it.
    @Test(arguments: families)
    func noTokenSeesTheFuture(family: String) throws {
        let model = try tinyModel(family)
        let a = try logprobs(
            model, PackedBatch(sequences: [[3, 1, 4, 1, 5, 9]], promptLengths: [1]))
        let b = try logprobs(
            model, PackedBatch(sequences: [[3, 1, 4, 1, 5, 2]], promptLengths: [1]))
        #expect(a[..<4] == b[..<4])
        #expect(a[4] != b[4])
    }

    /// Every parameter of a whole decoder, against central differences.
    @Test(arguments: families)
    func gradientsOfAWholeDecoder(family: String) throws {
        let model = try tinyModel(family, dtype: .f64)
        let batch = PackedBatch(
            sequences: [DecoderTests.sequences[0], DecoderTests.sequences[1]],
            promptLengths: [2, 1])
        let weights = Tensor(
            batch.targets.indices.map { 0.5 + 0.25 * Double($0) }, device: testDevice)
        var wanted = Wanted()
        wanted.entropy = true
        wanted.vocabLogprobs = true
        try expectGradients(of: model.parameters) { tape in
            let scores = try model.outputs(batch, wanted, tape: tape, temperature: 0.8)
            let entropy = try #require(scores.entropy)
            let vocab = try #require(scores.vocabLogprobs)
            return (scores.logprobs * weights).sum() + entropy.sum() + (vocab * weights).sum()
        }
    }

    /// Decision 24: the number of threads does not reach the bits.
    @Test(arguments: ["gpt2", "llama_bf16"], [DType.f32, .bf16])
    func sameBitsForAnyNumberOfThreads(name: String, dtype: DType) throws {
        let stream = RandomStream(seed: 1, place: "threads")
        let sequences = (0..<5).map { i in
            (0..<40 + i).map { Int32(stream.below(512, UInt64(50 * i + $0))) }
        }
        let batch = PackedBatch(sequences: sequences, promptLengths: [1, 5, 9, 2, 30])
        let runs = try [1, 2, 3].map { threads in
            let model = try Model.load(
                directory: Fixture.model(name), dtype: dtype, device: .cpu(threads: threads))
            let optimizer = AdamW(model.parameters, weightDecay: 0.1)
            for _ in 0..<2 {
                model.zeroGradients()
                let tape = Tape()
                tape.backward(try model.logprobs(batch, tape: tape).logprobs.sum())
                optimizer.step(learningRate: 1e-3, maxGradNorm: 1)
            }
            return model.parameters.map { $0.gradient.bytes() + $0.master.bytes() }
        }
        #expect(runs[0] == runs[1])
        #expect(runs[0] == runs[2])
    }

    /// Two backward passes add up, and `zeroGradients` starts again.
    @Test func gradientsAccumulate() throws {
        let model = try tinyModel("llama")
        func pass() throws -> [Double] {
            let tape = Tape()
            tape.backward(
                try model.logprobs(
                    PackedBatch(sequences: [[1, 2, 3]], promptLengths: [1]), tape: tape
                ).logprobs.sum())
            return model.parameters[0].gradient.doubles()
        }
        let once = try pass()
        let twice = try pass()
        expectClose(twice, once.map { 2 * $0 }, .f32Reduction(8))
        model.zeroGradients()
        #expect(try pass() == once)
    }

    @Test func aFrozenParameterGetsNoGradient() throws {
        let model = try tinyModel("llama")
        model.parameters[1].isTrained = false
        let tape = Tape()
        tape.backward(
            try model.logprobs(PackedBatch(sequences: [[1, 2, 3]], promptLengths: [1]), tape: tape)
                .logprobs.sum())
        #expect(model.parameters[1].gradient.doubles().allSatisfy { $0 == 0 })
        #expect(model.parameters[2].gradient.doubles().contains { $0 != 0 })
    }

    /// torch's padding_idx: reading the padding token trains nothing, predicting it does.
    @Test func thePaddingTokenIsNotTrainedByBeingRead() throws {
        let model = try tinyModel("llama", changes: ["pad_token_id": 4])
        let tape = Tape()
        tape.backward(
            try model.logprobs(
                PackedBatch(sequences: [[4, 2, 4, 3]], promptLengths: [1]), tape: tape
            ).logprobs.sum())
        let embedding = try #require(model.parameter(named: "model.embed_tokens.weight")).gradient
        #expect(embedding.rowsView(4, 1).doubles().allSatisfy { $0 == 0 })
        #expect(embedding.rowsView(2, 1).doubles().contains { $0 != 0 })
        let head = try #require(model.parameter(named: "lm_head.weight")).gradient
        #expect(head.rowsView(4, 1).doubles().contains { $0 != 0 })
    }

    @Test(arguments: [([1, 23], "token id 23"), ([-1, 2], "token id -1")] as [([Int32], String)])
    func foreignIDsAreRefused(ids: [Int32], words: String) throws {
        let model = try tinyModel("llama")
        let error = try #require(throws: KeelError.self) {
            _ = try logprobs(model, PackedBatch(sequences: [ids], promptLengths: [1]))
        }
        #expect(error.what.contains(words))
    }

    @Test func learnedPositionsEndTheContext() throws {
        let model = try tinyModel("gpt2")
        let ids = [Int32](repeating: 1, count: 25)
        #expect(throws: KeelError.self) {
            _ = try logprobs(model, PackedBatch(sequences: [ids], promptLengths: [1]))
        }
        #expect(throws: Never.self) {
            _ = try logprobs(
                model, PackedBatch(sequences: [Array(ids.dropLast())], promptLengths: [1]))
        }
    }

    @Test func nothingScoredIsNothing() throws {
        let model = try tinyModel("llama")
        let scores = try model.logprobs(
            PackedBatch(sequences: [[1]], promptLengths: [1]), tape: Tape(), entropy: true,
            correct: true)
        #expect(scores.logprobs.count == 0 && scores.entropy?.count == 0 && scores.correct == [])
    }
}
