import KeelCore
import KeelTensor
import KeelTestSupport
import Testing

@testable import KeelModel

@Suite struct LoRATests {
    private func base(_ family: String = "llama") throws -> Model {
        try Model.load(directory: Fixture.model(family), dtype: .f32, device: testDevice)
    }

    /// PEFT's adapters: on linear layers of the blocks; on embedding and head, whose weights it saves with them; on
    /// embedding and head where one tensor is both; the embedding whole, apart from a head tied to it or together.
    static let adapters = [
        "llama_lora", "llama_lora_head", "gpt2_lora_tied", "gemma2_lora_tied", "gpt2_lora_whole",
        "gemma2_lora_whole",
    ]

    private func base(of adapter: String) throws -> Model {
        try base(String(adapter.prefix { $0 != "_" }))
    }

    private func logprobs(_ model: Model, _ ids: [Int32]) throws -> [Double] {
        try model.logprobs(
            PackedBatch(sequences: [ids], promptLengths: [1]), tape: Tape(recording: false)
        ).logprobs.doubles()
    }

    // MARK: - PEFT's numbers

    @Test(arguments: adapters)
    func anAdapterOfPEFTComputesWhatPEFTComputes(folder: String) throws {
        let vectors = try Fixture.json("models/\(folder)/vectors.json")
        let plain = try base(of: folder)
        let model = try plain.adapted(directory: Fixture.model(folder))
        let merged = model.merged()
        for (i, sequence) in (vectors["sequences"]?.array ?? []).enumerated() {
            let ids = try #require(sequence["input_ids"]?.ids)
            let want = try #require(sequence["token_logprobs"]?.doubles)
            expectClose(try logprobs(model, ids), want, VectorTests.logprob)
            expectClose(try logprobs(merged, ids), want, VectorTests.logprob)
            // While generating, the update is added to the logits.
            let batch = PackedBatch(sequences: [ids], promptLengths: [1])
            let last = Int32(ids.count - 2)
            let logits = try model.logits(batch, rows: [last]).logSoftmax(axis: -1).doubles()
            expectClose([logits[Int(ids[ids.count - 1])]], [want[Int(last)]], VectorTests.logprob)
            // Without the adapter: the model as it was.
            guard let reference = vectors["base_logprobs"]?[i]?.doubles else { continue }
            expectClose(try logprobs(model.base, ids), reference, VectorTests.logprob)
        }
        for (name, want) in try #require(vectors["merged_weights"]?.object) {
            let values = try #require(merged.parameter(named: name)).master.doubles()
            expectClose(
                try #require(want["idx"]?.ints).map { values[$0] },
                try #require(want["val"]?.doubles), Tolerance(relative: 1e-6, absolute: 1e-7), name)
        }
    }

    @Test(arguments: adapters)
    func gradientsAreThoseOfPEFT(folder: String) throws {
        let vectors = try Fixture.json("models/\(folder)/vectors.json")
        let want = try #require(vectors["loss"])
        let model = try base(of: folder).adapted(directory: Fixture.model(folder))
        let batch = PackedBatch(
            sequences: (vectors["sequences"]?.array ?? []).compactMap { $0["input_ids"]?.ids },
            promptLengths: try #require(want["prompt_len"]).ints)
        let tape = Tape()
        let loss =
            try model.logprobs(batch, tape: tape).logprobs.mean()
            * Tensor(filled: -1, shape: [], dtype: .f32, device: testDevice)
        tape.backward(loss)
        expectClose(
            [loss.item()], [want["value"]?.double ?? 0], Tolerance(relative: 0, absolute: 9e-6))
        let grads = try #require(want["grads"]?.object)
        #expect(Set(grads.keys) == Set(model.trained.map(\.name)))
        for (name, expected) in grads {
            let values = try #require(model.parameter(named: name)).gradient.doubles()
            let bar = Tolerance(relative: 0, absolute: 5.3e-5 * (expected["l2"]?.double ?? 0))
            expectClose(
                try #require(expected["idx"]?.ints).map { values[$0] },
                try #require(expected["val"]?.doubles), bar, name)
        }
    }

    // MARK: - New adapters

    private static let families: [(String, [String])] = [
        ("llama", ["q_proj", "down_proj"]), ("gpt2", ["c_attn", "mlp.c_proj"]),
        ("llama", ["embed_tokens", "lm_head"]), ("gpt2", ["wte", "lm_head"]),
    ]

    @Test(arguments: families, [DType.f32, .bf16])
    func aNewAdapterChangesNothing(family: (String, [String]), dtype: DType) throws {
        let (name, targets) = family
        // Without biases a projection, its update and the residual are one sum.
        let model = try tinyModel(
            name, dtype: dtype, changes: name == "llama" ? ["mlp_bias": false] : [:])
        var config = LoRAConfig()
        config.targets = .names(targets)
        let adapted = try model.adapted(config, seed: 1)
        let layers = targets.contains("lm_head") ? 1 : 2
        #expect(adapted.trained.count == 2 * layers * targets.count)
        #expect(try logprobs(adapted, [1, 2, 3, 4]) == logprobs(model, [1, 2, 3, 4]))
    }

    /// Random numbers in every tensor, so that every path matters.
    private func shaken(_ model: Model) -> Model {
        for parameter in model.trained {
            let stream = RandomStream(seed: 9, place: parameter.name)
            parameter.assign(
                Tensor(
                    (0..<parameter.count).map { 0.3 * stream.normal(UInt64($0)) },
                    shape: parameter.shape, dtype: parameter.master.dtype, device: testDevice))
        }
        return model
    }

    private func everything(_ family: String) -> LoRAConfig {
        var config = LoRAConfig()
        config.rank = 3
        config.alpha = 5
        config.usesRankStabilisation = true
        config.rankPattern = [(family == "gpt2" ? "mlp.c_fc" : "v_proj", 2)]
        config.modulesToSave = family == "gpt2" ? ["ln_f"] : ["lm_head"]
        return config
    }

    /// Embedding and head, and nothing else.
    private func ends() -> LoRAConfig {
        var config = everything("llama")
        config.modulesToSave = []
        config.targets = .names(["embed_tokens", "lm_head"])
        return config
    }

    @Test(arguments: ["llama", "gpt2", "ends"])
    func mergedSavedAndLoadedIsTheSame(family: String) throws {
        let plain = try tinyModel(family == "ends" ? "llama" : family)
        let config = family == "ends" ? ends() : everything(family)
        let model = shaken(try plain.adapted(config, seed: 1))
        let ids: [Int32] = [1, 5, 9, 2, 7]
        let want = try logprobs(model, ids)
        #expect(try logprobs(model.base, ids) != want)
        expectClose(try logprobs(model.merged(), ids), want, Tolerance(relative: 0, absolute: 2e-5))
        try withFolder { folder in
            try model.saveAdapter(to: folder, base: "base")
            let again = try plain.base.adapted(directory: folder)
            #expect(try logprobs(again, ids) == want)
            #expect(again.trained.map(\.name) == model.trained.map(\.name))
            let path = Files.join(folder, "adapter_config.json")
            let json = try JSON.parse(try Files.read(path), name: path)
            #expect(json["base_model_name_or_path"] == "base")
            #expect(json["fan_in_fan_out"]?.bool == (family == "gpt2"))
            #expect(json["target_modules"]?.array?.isEmpty == false)
        }
    }

    /// Only the adapter has gradients, and they are those of central differences in f64.
    @Test(arguments: ["llama", "gpt2", "ends"])
    func gradients(family: String) throws {
        let config = family == "ends" ? ends() : everything(family)
        let model = shaken(
            try tinyModel(family == "ends" ? "llama" : family, dtype: .f64)
                .adapted(config, seed: 1))
        let batch = PackedBatch(sequences: [[1, 5, 9, 2], [3, 4]], promptLengths: [1, 1])
        let tape = Tape()
        let loss = try model.logprobs(batch, tape: tape).logprobs.sum()
        tape.backward(loss)
        for parameter in model.parameters where !parameter.isTrained {
            #expect(Optim.squaredNorm([parameter.gradient]) == 0)
        }
        for parameter in model.trained {
            let analytic = parameter.gradient.doubles()
            let values = parameter.master.doubles()
            for at in [0, parameter.count / 2, parameter.count - 1] {
                func shifted(_ by: Double) throws -> Double {
                    var moved = values
                    moved[at] += by
                    parameter.assign(Tensor(moved, shape: parameter.shape, device: testDevice))
                    return try logprobs(model, [1, 5, 9, 2]).reduce(0, +)
                        + logprobs(model, [3, 4]).reduce(0, +)
                }
                let numeric = try (shifted(1e-5) - shifted(-1e-5)) / 2e-5
                _ = try shifted(0)
                expectClose(
                    [analytic[at]], [numeric], Tolerance(relative: 1e-6, absolute: 1e-8),
                    parameter.name)
            }
        }
    }

    /// A token's dropout depends on seed, step and its key, not on what else is in the batch.
    @Test(arguments: [false, true])
    func dropoutDoesNotDependOnTheBatch(ofTheHead: Bool) throws {
        var config = ofTheHead ? ends() : everything("llama")
        config.dropout = 0.5
        let model = shaken(try tinyModel("llama").adapted(config, seed: 1))
        func pass(
            _ sequences: [[Int32]], _ keys: [UInt64], step: UInt64, prompt: Int = 1
        ) throws -> [Double] {
            model.adapter?.draws = (seed: 4, step: step)
            var batch = PackedBatch(
                sequences: sequences, promptLengths: sequences.map { _ in prompt })
            batch.dropoutKeys = keys
            return try model.logprobs(batch, tape: Tape()).logprobs.doubles()
        }
        let keys: [UInt64] = [10, 1 << 40, 1 << 50]
        let alone = try pass([[1, 2, 3]], keys, step: 0)
        let together = try pass([[4, 5], [1, 2, 3]], [7, 1 << 30] + keys, step: 0)
        expectClose(Array(together.dropFirst()), alone, Tolerance(relative: 0, absolute: 1e-6))
        #expect(try pass([[1, 2, 3]], keys, step: 1) != alone)
        // Nor on which tokens are scored.
        #expect(try pass([[1, 2, 3]], keys, step: 0, prompt: 2) == Array(alone.dropFirst()))
        // Evaluation has none.
        let batch = PackedBatch(sequences: [[1, 2, 3]], promptLengths: [1])
        let still = try model.logprobs(batch, tape: Tape(recording: false)).logprobs.doubles()
        #expect(still != alone)
        config.dropout = 0
        #expect(try logprobs(model, [1, 2, 3]) == still)
    }

    // MARK: - What cannot be

    @Test(
        arguments: [
            (["use_dora": true], "use_dora true: not supported"),
            (["peft_type": "IA3"], "adapters of type \"IA3\""),
            (["bias": "all"], "bias \"all\": not supported"),
            (["target_modules": ".*_proj"], "a pattern"), (["r": 0], "0 is not a rank"),
            (["r": "4"], "\"4\" is not a rank"), (["lora_dropout": 1.5], "is not in 0 ..< 1"),
            (["target_modules": [3]], "is not a list of module names"),
            (["lora_alpha": "x"], "is not a number"),
            (["layers_to_transform": [1]], "not supported"),
        ] as [(JSONObject, String)])
    func wrongConfigsAreNamed(changes: JSONObject, words: String) throws {
        let error = try #require(throws: KeelError.self) {
            _ = try LoRAConfig(.object(changes), path: "adapter_config.json")
        }
        #expect(error.what.contains(words), "\(error)")
        #expect(error.at?.hasPrefix("adapter_config.json, key ") == true)
    }

    @Test(
        arguments: [
            (["q_prj"], [], "no linear layer is called \"q_prj\""),
            (["layers.0.input_layernorm"], [], "modules_to_save"),
            ([], [], "target_modules is empty"),
            (["q_proj"], ["head"], "no module is called \"head\""),
        ] as [([String], [String], String)])
    func namesThatMeanNothingAreTold(
        targets: [String], saved: [String], words: String
    ) throws {
        var config = LoRAConfig()
        config.targets = .names(targets)
        config.modulesToSave = saved
        let model = try tinyModel("llama")
        let error = try #require(throws: KeelError.self) {
            _ = try model.adapted(config, seed: 1)
        }
        #expect(error.description.contains(words), "\(error)")
    }

    // MARK: - A tied head

    /// What an adapter names, what else it changes with it, and whether one tensor stays both.
    @Test(
        arguments: [
            (["lm_head"], [], false, false), (["wte"], [], false, false),
            (["c_attn"], ["wte"], false, false), (["c_attn"], ["lm_head"], false, false),
            (["c_attn"], ["wte", "lm_head"], false, false), (["c_attn"], ["wte"], true, true),
            (["c_attn"], ["lm_head"], true, true), (["c_attn"], [], false, true),
        ] as [([String], [String], Bool, Bool)])
    func aTiedHead(targets: [String], saved: [String], ties: Bool, stays: Bool) throws {
        var config = LoRAConfig()
        config.targets = .names(targets)
        config.modulesToSave = saved
        config.tiesWeights = ties
        let plain = try tinyModel("gpt2")
        let model = shaken(try plain.adapted(config, seed: 1))
        #expect(
            config.parameterCount(in: plain.architecture)
                == model.trained.reduce(0) { $0 + $1.count })
        let ids: [Int32] = [1, 5, 9, 2, 7]
        let want = try logprobs(model, ids)
        let merged = model.merged()
        expectClose(try logprobs(merged, ids), want, Tolerance(relative: 0, absolute: 2e-5))
        #expect(merged.architecture.isTied == stays)
        try withFolder { folder in
            let (adapter, whole) = (folder + "/adapter", folder + "/whole")
            try model.saveAdapter(to: adapter, base: "base")
            #expect(try logprobs(plain.base.adapted(directory: adapter), ids) == want)
            // What is written says what it is.
            try merged.save(to: whole)
            let again = try Model.load(directory: whole, dtype: .f32, device: testDevice)
            #expect(again.architecture.isTied == stays)
            #expect(try logprobs(again, ids) == logprobs(merged, ids))
        }
    }

    @Test func updatesOfATiedHeadAreNotTied() throws {
        var config = LoRAConfig()
        config.targets = .names(["lm_head"])
        config.tiesWeights = true
        let error = try #require(throws: KeelError.self) {
            _ = try tinyModel("gpt2").adapted(config, seed: 1)
        }
        #expect(
            error.description == """
                error[model]: LoRA on "lm_head" with ensure_weight_tying: not supported
                  at:  ensure_weight_tying
                  fix: leave it out (embedding and head then get updates of their own), or name transformer.wte in modules_to_save
                """, "\(error)")
    }

    @Test func anAdapterOfAnotherModelIsRefused() throws {
        let error = try #require(throws: KeelError.self) {
            _ = try tinyModel("llama").adapted(directory: Fixture.model("llama_lora"))
        }
        #expect(error.description.contains("do not belong together"), "\(error)")
        #expect(throws: KeelError.self) {
            _ = try base().adapted(directory: Fixture.model("gpt2"))
        }
    }
}
