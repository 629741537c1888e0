import KeelCore
import KeelModel
import KeelTensor
import KeelTestSupport
import Testing

@Suite struct RewardModelTests {
    static let rows: [[Int32]] = [
        [3, 1, 4, 1, 5, 9, 2], [6, 5, 3], [5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6], [7],
    ]

    private func rewardModel(
        _ family: String, dtype: DType = .f32, padID: Int32? = nil
    ) throws -> Model {
        try withFolder { folder in
            try tinyModel(family).save(to: folder)
            return try Model.load(
                directory: folder, dtype: dtype, device: testDevice, outputs: .score,
                scoreStart: .normal(2), seed: 11, padID: padID)
        }
    }

    /// A score is w · h at the last token: with w a row of the LM head it is transformers' logit of that id.
    @Test(arguments: ["llama_bf16", "gpt2"])
    func aScoreReadsTheLastState(name: String) throws {
        let vectors = try Fixture.json("models/\(name)/vectors.json")
        let language = try Model.load(
            directory: Fixture.model(name), dtype: .f32, device: testDevice)
        let model = try Model.load(
            directory: Fixture.model(name), dtype: .f32, device: testDevice, outputs: .score)
        let head = try #require(
            language.parameter(named: "lm_head.weight")
                ?? language.parameter(named: "transformer.wte.weight")
        ).master
        let score = try #require(model.parameter(named: "score.weight"))
        let sequence = try #require(
            vectors["sequences"]?.array?.first { $0["last_logits"] != nil })
        let ids = try #require(sequence["input_ids"]?.ids)
        let logits = try #require(sequence["last_logits"]?.doubles)
        for id in [0, 17, 400] {
            score.assign(head.rowsView(id, 1))
            // Rows before and behind it change nothing.
            let got: [Float] = try model.scores([[1, 2, 3], ids, [5]])
            expectClose([Double(got[1])], [logits[id]], VectorTests.logit, name)
        }
    }

    /// An adapter trains the head whole: its scores are the model's before the first step, and its gradients its own.
    @Test func anAdapterHasAHeadOfItsOwn() throws {
        let model = try rewardModel("llama")
        var config = LoRAConfig()
        config.modulesToSave = ["score"]
        let adapted = try model.adapted(config, seed: 1)
        let rows = RewardModelTests.rows
        #expect(try adapted.scores(rows) as [Float] == model.base.scores(rows))
        let tape = Tape()
        tape.backward(try adapted.scores(rows, tape: tape).sum())
        let own = try #require(adapted.parameter(named: "base_model.model.score.weight"))
        #expect(own === adapted.scoreParameter && Optim.squaredNorm([own.gradient]) > 0)
        own.assign(own.master * 2)
        let twice: [Float] = try adapted.scores(rows)
        expectClose(
            twice.map(Double.init), try model.base.scores(rows).map { 2 * Double($0) },
            Tolerance(relative: 1e-5))
        // From its own folder, on the language model it was made of; merged, it is a reward model's folder.
        try withFolder { folder in
            let (base, adapter, whole) = (folder + "/base", folder + "/adapter", folder + "/whole")
            try tinyModel("llama").save(to: base)
            try adapted.saveAdapter(to: adapter, base: base)
            func load(_ adapter: String) throws -> Model {
                try Model.load(
                    directory: base, adapter: adapter, dtype: .f32, device: testDevice)
            }
            #expect(try load(adapter).scores(rows) as [Float] == twice)
            try load(adapter).merged().save(to: whole)
            let again = try Model.load(directory: whole, dtype: .f32, device: testDevice)
            #expect(!again.architecture.hasLanguageHead)
            expectClose(
                try again.scores(rows).map { Double($0 as Float) }, twice.map(Double.init),
                Tolerance(relative: 1e-5))
            config.modulesToSave = []
            try model.adapted(config, seed: 1).saveAdapter(to: folder + "/none", base: base)
            let error = try #require(throws: KeelError.self) { _ = try load(folder + "/none") }
            #expect(
                error.what
                    == "the adapter scores texts, but neither it nor its model has a score head")
        }
    }

    /// Alone, in a batch, in another order: the same bits.
    @Test(arguments: ["llama", "gpt2"], [DType.f32, .bf16])
    func batchingDoesNotReachTheBits(family: String, dtype: DType) throws {
        let model = try rewardModel(family, dtype: dtype)
        let alone = try RewardModelTests.rows.map { try model.scores([$0])[0] as Float }
        let together: [Float] = try model.scores(RewardModelTests.rows)
        let reversed: [Float] = try model.scores(RewardModelTests.rows.reversed())
        #expect(Set(alone).count == alone.count)
        #expect(together == alone)
        #expect(reversed == alone.reversed())
        #expect(try model.scores([]) as [Float] == [])
    }

    /// Every parameter of a reward model, against central differences, through a Bradley-Terry loss.
    @Test(arguments: ["llama", "gpt2"])
    func gradientsOfAWholeRewardModel(family: String) throws {
        let model = try rewardModel(family, dtype: .f64)
        func loss(_ tape: Tape) throws -> Tensor {
            let scores = try model.scores(RewardModelTests.rows, tape: tape)
            let margins = scores.slice(axis: 0, 0, 2) - scores.slice(axis: 0, 2, 4)
            return -margins.logSigmoid().sum()
        }
        try expectGradients(of: model.parameters) { try loss($0) }
    }

    /// A language model becomes a reward model that transformers' names describe, and comes back the same.
    @Test(arguments: [
        ("llama", "LlamaForSequenceClassification"), ("gpt2", "GPT2ForSequenceClassification"),
    ])
    func savedAsAClassifier(family: String, name: String) throws {
        // An id that ends texts (0) is no filler: transformers would not score it.
        #expect(try rewardModel(family, padID: 0).config.padID == nil)
        try withFolder { folder in
            // Nor does it stay one where the language model's config says so.
            try tinyModel(family).save(to: folder)
            let path = Files.join(folder, "config.json")
            var config = try ModelConfig(path: path).source
            config["eos_token_id"] = 0
            config["pad_token_id"] = 0
            try AtomicWrite.file(path, JSON.object(config).text())
            let reward = try Model.load(
                directory: folder, dtype: .f32, device: testDevice, outputs: .score,
                scoreStart: .normal(2), seed: 11)
            try reward.save(to: folder)
            #expect(try ModelConfig(path: path).source["pad_token_id"] == .null)
        }
        let model = try rewardModel(family, padID: 4)
        try withFolder { folder in
            try model.save(to: folder)
            let config = try ModelConfig(path: Files.join(folder, "config.json"))
            #expect(config.architectures == [name])
            #expect(config.source["id2label"] == ["0": "LABEL_0"])
            #expect(config.source["score_position"] == "last_token")
            #expect(config.padID == 4)
            let names = try WeightFiles(directory: folder).names
            #expect(names.contains("score.weight") && !names.contains("lm_head.weight"))
            let again = try Model.load(directory: folder, dtype: .f32, device: testDevice)
            #expect(again.architecture.outputs == .score)
            #expect(
                try again.scores(RewardModelTests.rows) as [Float]
                    == model.scores(RewardModelTests.rows))
            // A new head again only where there was none.
            let critic = try Model.load(
                directory: folder, dtype: .f32, device: testDevice, outputs: .score,
                scoreStart: .zeros)
            #expect(
                critic.parameter(named: "score.weight")?.master.bytes()
                    == model.parameter(named: "score.weight")?.master.bytes())
        }
    }

    @Test func aRewardModelHasNoTextAndALanguageModelNoScores() throws {
        let model = try rewardModel("llama")
        let batch = PackedBatch(sequences: [[1, 2]], promptLengths: [1])
        let words = "a reward model has no LM head: it gives scores, no log-probs or text"
        #expect(
            #expect(throws: KeelError.self) {
                _ = try model.logprobs(batch, tape: Tape(recording: false))
            }?.what == words)
        #expect(
            #expect(throws: KeelError.self) {
                _ = try KeelModel.Generator(model, GenerationSettings(maxNewTokens: 1, eosIDs: []))
                    .run([GenerationRequest(prompt: [1], rowID: 0)])
            }?.what == words)
        #expect(
            #expect(throws: KeelError.self) {
                _ = try tinyModel("llama").scores([[1]]) as [Float]
            }?.what == "a language model gives no scores")
        #expect(
            #expect(throws: KeelError.self) { _ = try model.scores([[1], []]) as [Float] }?.what
                == "text 1 has no tokens to score")
    }

    @Test(
        arguments: [
            (["id2label": ["0": "a", "1": "b"]], "a classifier of 2 labels: not supported"),
            ([:], "a classifier of 2 labels: not supported"),
            (["num_labels": 1], "the weights have no tensor score.weight"),
        ] as [(JSONObject, String)])
    func classifiersThatAreNoRewardModels(changes: JSONObject, words: String) throws {
        try withFolder { folder in
            try tinyModel("llama").save(to: folder)
            let path = Files.join(folder, "config.json")
            var config = try ModelConfig(path: path).source
            config["architectures"] = ["LlamaForSequenceClassification"]
            for (key, value) in changes { config[key] = value }
            try AtomicWrite.file(path, JSON.object(config).text())
            let error = #expect(throws: KeelError.self) {
                _ = try Model.load(directory: folder, dtype: .f32, device: testDevice)
            }
            #expect(error?.what.hasPrefix(words) == true, "\(String(describing: error))")
        }
    }
}
