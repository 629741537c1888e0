import KeelCore
import KeelModel
import KeelTensor
import KeelTestSupport
import Testing

/// What transformers computes in f64 on the stored weights.
@Suite struct VectorTests {
    static let names = [
        "llama_bf16", "gpt2", "llama_sharded", "llama3", "mistral", "qwen2", "qwen3", "phi3",
        "gemma2", "gemma3", "gpt_neox",
    ]

    /// Ten times what transformers' own f32 run differs from its f64 run at most over many such models:
    /// strict, but fair to another order of summation.
    static let logit = Tolerance(relative: 0, absolute: 1.4e-4)
    static let logprob = Tolerance(relative: 0, absolute: 9e-5)

    private func load(_ name: String, dtype: DType = .f32) throws -> (Model, JSON) {
        (
            try Model.load(directory: Fixture.model(name), dtype: dtype, device: testDevice),
            try Fixture.json("models/\(name)/vectors.json")
        )
    }

    @Test(arguments: names)
    func logprobsEntropyAndArgmax(name: String) throws {
        let (model, vectors) = try load(name)
        for sequence in vectors["sequences"]?.array ?? [] {
            let ids = try #require(sequence["input_ids"]?.ids)
            let batch = PackedBatch(sequences: [ids], promptLengths: [1])
            let scores = try model.logprobs(
                batch, tape: Tape(recording: false), entropy: true, correct: true)
            let want = try #require(sequence["token_logprobs"]?.doubles)
            expectClose(scores.logprobs.doubles(), want, VectorTests.logprob, name)
            let entropy = try #require(sequence["entropy"]?.doubles)
            expectClose(
                try #require(scores.entropy).doubles(), Array(entropy.dropLast()),
                VectorTests.logprob, name)
            let argmax = try #require(sequence["row_argmax"]?.ids)
            #expect(scores.correct == zip(argmax, ids.dropFirst()).map { $0 == $1 })
            if let logits = sequence["last_logits"]?.doubles {
                let last = try model.logits(batch, rows: [Int32(ids.count - 1)])
                #expect(last.shape == [1, model.vocabularySize])
                expectClose(last.doubles(), logits, VectorTests.logit, name)
            }
        }
    }

    @Test(arguments: names)
    func inDoublePrecisionOnlyTheRotaryRoundingIsLeft(name: String) throws {
        let (model, vectors) = try load(name, dtype: .f64)
        let sequence = try #require(vectors["sequences"]?[3])
        let ids = try #require(sequence["input_ids"]?.ids)
        let scores = try model.logprobs(
            PackedBatch(sequences: [ids], promptLengths: [1]), tape: Tape(recording: false))
        // The vectors have ten digits; one unit in the last place of a rotary frequency at position 47 is 3e-6.
        expectClose(
            scores.logprobs.doubles(), try #require(sequence["token_logprobs"]?.doubles),
            Tolerance(relative: 1e-9, absolute: 4e-6), name)
    }

    private func batch(_ vectors: JSON) throws -> PackedBatch {
        let loss = try #require(vectors["loss"])
        let sequences = try #require(loss["sequence_index"]).ints.map {
            vectors["sequences"]?[$0]?["input_ids"]?.ids ?? []
        }
        return PackedBatch(
            sequences: sequences, promptLengths: try #require(loss["prompt_len"]).ints)
    }

    /// Mean of -log p; gradients are left in the parameters.
    private func loss(_ model: Model, _ batch: PackedBatch) throws -> Double {
        model.zeroGradients()
        let tape = Tape()
        let loss =
            try model.logprobs(batch, tape: tape).logprobs.mean()
            * Tensor(filled: -1, shape: [], dtype: .f32, device: testDevice)
        tape.backward(loss)
        return loss.item()
    }

    @Test(arguments: names)
    func lossAndEveryGradient(name: String) throws {
        let (model, vectors) = try load(name)
        let want = try #require(vectors["loss"])
        let batch = try batch(vectors)
        #expect(batch.targets.count == want["n_targets"]?.int)
        let loss = try loss(model, batch)
        expectClose([loss], [want["value"]?.double ?? 0], Tolerance(relative: 0, absolute: 9e-6))
        let total = want["grad_l2_total"]?.double ?? 0
        let norm = Optim.squaredNorm(model.parameters.map(\.gradient)).squareRoot()
        expectClose([norm], [total], Tolerance(relative: 5.3e-5))
        let grads = try #require(want["grads"]?.object)
        #expect(Set(grads.keys) == Set(model.parameters.map(\.name)))
        for (parameter, expected) in grads {
            let gradient = try #require(model.parameter(named: parameter)).gradient
            #expect(gradient.shape == expected["shape"]?.ints)
            let values = gradient.doubles()
            let l2 = expected["l2"]?.double ?? 0
            // Relative to the gradient's own size, or to a millionth of the whole where it is zero in theory.
            let bar = Tolerance(relative: 0, absolute: 5.3e-5 * max(l2, 1e-6 * total))
            expectClose([values.reduce(0) { $0 + $1 * $1 }.squareRoot()], [l2], bar, parameter)
            let entries = try #require(expected["idx"]?.ints)
            expectClose(
                entries.map { values[$0] }, try #require(expected["val"]?.doubles), bar, parameter)
        }
    }

    @Test(arguments: names)
    func threeStepsOfAdamW(name: String) throws {
        let (model, vectors) = try load(name)
        let want = try #require(vectors["adamw"])
        let batch = try batch(vectors)
        let optimizer = AdamW(
            model.parameters, beta1: want["beta1"]?.double ?? 0, beta2: want["beta2"]?.double ?? 0,
            eps: want["eps"]?.double ?? 0, weightDecay: want["weight_decay"]?.double ?? 0)
        var losses = [try loss(model, batch)]
        var norms: [Double] = []
        for _ in 0..<3 {
            norms.append(optimizer.step(learningRate: want["lr"]?.double ?? 0))
            losses.append(try loss(model, batch))
        }
        expectClose(
            losses, try #require(want["loss_before_each_step_and_after_last"]?.doubles),
            Tolerance(relative: 0, absolute: 2e-5))
        expectClose(
            norms, try #require(want["grad_l2_total_each_step"]?.doubles),
            Tolerance(relative: 5.3e-4))
        let loose = Set(vectors["ill_conditioned"]?.array?.compactMap(\.string) ?? [])
        for (parameter, expected) in try #require(want["params_after_step_3"]?.object)
        where !loose.contains(parameter) {
            let values = try #require(model.parameter(named: parameter)).master.doubles()
            expectClose(
                try #require(expected["idx"]?.ints).map { values[$0] },
                try #require(expected["val"]?.doubles),
                Tolerance(relative: 0, absolute: 5.2e-5), parameter)
        }
    }

    @Test(arguments: names)
    func greedyTokens(name: String) throws {
        let (model, vectors) = try load(name)
        let want = try #require(vectors["greedy"])
        let ids = try #require(want["new_ids"]?.ids)
        let settings = GenerationSettings(maxNewTokens: ids.count, eosIDs: [])
        let done = try KeelModel.Generator(model, settings, sampler: ArgmaxSampling()).run(
            [GenerationRequest(prompt: try #require(want["prompt_ids"]?.ids), rowID: 0)])
        #expect(done[0]?.ids == ids)
    }

    @Test func bf16StaysNearF32() throws {
        let (model, vectors) = try load("llama_bf16", dtype: .bf16)
        var apart: [Double] = []
        for sequence in vectors["sequences"]?.array ?? [] {
            let ids = try #require(sequence["input_ids"]?.ids)
            let scores = try model.logprobs(
                PackedBatch(sequences: [ids], promptLengths: [1]), tape: Tape(recording: false))
            apart += zip(
                scores.logprobs.doubles(), try #require(sequence["token_logprobs"]?.doubles)
            ).map { abs($0 - $1) }
        }
        // transformers' own bf16 run of this model differs by up to 0.10.
        #expect(apart.max() ?? 1 < 0.3)
        #expect(apart.reduce(0, +) / Double(apart.count) < 0.075)
    }

    @Test func olderSpellingsOfNamesAndBuffersThatAreNoWeights() throws {
        let folder = Fixture.model("gpt2")
        let whole = try SafetensorsFile(Files.join(folder, "model.safetensors"))
        try withFolder { legacy in
            var items = try whole.entries.map { entry in
                SafetensorsWriter.Item(
                    String(entry.name.dropFirst("transformer.".count)),
                    try whole.tensor(entry, dtype: .f32, device: testDevice))
            }
            items.insert(
                .init(
                    "h.0.attn.bias", Tensor(zeros: [1, 1, 4, 4], dtype: .f32, device: testDevice)),
                at: 0)
            try SafetensorsWriter.write(Files.join(legacy, "model.safetensors"), items)
            try Files.copy(Files.join(folder, "config.json"), to: Files.join(legacy, "config.json"))
            let (new, _) = try load("gpt2")
            let old = try Model.load(directory: legacy, dtype: .f32, device: testDevice)
            #expect(old.parameters.map { "transformer." + $0.name } == new.parameters.map(\.name))
            let batch = PackedBatch(sequences: [[1, 2, 3, 4]], promptLengths: [1])
            #expect(
                try old.logprobs(batch, tape: Tape(recording: false)).logprobs.floats()
                    == new.logprobs(batch, tape: Tape(recording: false)).logprobs.floats())
        }
    }
}
