import Foundation
import KeelCore
import KeelModel
import KeelTensor
import KeelTestSupport
import KeelText
import Testing

@testable import KeelBridge
@testable import KeelHost

@Suite struct RewardModelsTests {
    private let folder: TemporaryFolder
    private let device = Device.cpu(threads: 1)

    private static let tokenizers = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../Fixtures/tokenizers").standardized.path

    /// A small model with random weights in a folder of its own.
    @discardableResult
    private func make(
        _ name: String, _ kind: String, tokenizer: String = "llama2_style", seed: UInt64 = 1
    ) throws -> String {
        let vocabulary = try Tokenizer.load(
            directory: "\(RewardModelsTests.tokenizers)/\(tokenizer)")
        let size = (0..<100_000).first { vocabulary.token(Int32($0)) == nil } ?? 0
        let config: JSONObject = [
            "architectures": [.string("Llama\(kind)")], "model_type": "llama",
            "vocab_size": JSON(size), "hidden_size": 16, "intermediate_size": 32,
            "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "hidden_act": "silu", "tie_word_embeddings": true, "bos_token_id": 1,
            "eos_token_id": 2, "initializer_range": 0.3, "id2label": ["0": "LABEL_0"],
        ]
        let model = try Model.new(
            ModelConfig(config, path: "config.json"), seed: seed, device: device)
        try model.save(to: folder.path(name))
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            try Files.copy(
                "\(RewardModelsTests.tokenizers)/\(tokenizer)/\(file)",
                to: folder.path("\(name)/\(file)"))
        }
        return folder.path(name)
    }

    init() throws { folder = try TemporaryFolder() }

    /// A reward that asks what it is told to, and keeps what it was given.
    private final class Probe: RewardRunner {
        let name = "probe"
        var component: Component { preconditionFailure("not asked for in these tests") }
        var columns: [String: Column] { [:] }
        var questions: [String?] = []
        var seen: [RewardRow] = []

        func ask(_ rows: [RewardRow], context: CallContext) -> [[UInt8]?] {
            questions.map { $0.map { Array($0.utf8) } }
        }
        func submit(_ rows: [RewardRow], context: CallContext) { seen += rows }
        func collect() -> [RewardScore] {
            seen.map { RewardScore(value: Float($0.modelScore ?? .nan), milliseconds: 0) }
        }
        func takeMetrics() -> MetricSums { MetricSums() }
        func takeReport() -> RewardReport { RewardReport() }
        func save() -> Instance.State? { nil }
        func load(_ state: Instance.State) {}
    }

    private func row(
        _ prompt: String, _ response: String, ids: ([Int32], [Int32]) = ([], []),
        isFinished: Bool = true, id: UInt64 = 0
    ) -> RewardRow {
        RewardRow(
            id: id, prompt: Array(prompt.utf8), response: Array(response.utf8), tokens: ids.1,
            promptTokens: ids.0, isFinished: isFinished)
    }

    // MARK: - Reward models

    private func source(
        _ path: String, policy: String? = nil, maxLength: Int? = nil
    ) throws
        -> (RewardModelSource, RewardModels)
    {
        let models = RewardModels(device: device)
        var config = RewardModelConfig()
        config.path = path
        config.maxLength = maxLength
        let hash = try policy.map { try RewardModels.tokenizerHash($0) }
        return (
            try RewardModelSource(config, models, policyTokenizer: hash, place: "c.json"), models
        )
    }

    /// The ids that were sampled are scored where the tokenizer is the policy's; texts are cut anew elsewhere.
    @Test func scoresIdsOfItsOwnTokenizerAndTextsOfOthers() throws {
        let own = try make("rm", "ForSequenceClassification")
        let other = try make("other", "ForCausalLM", tokenizer: "smollm_style")
        let model = try Model.load(directory: own, dtype: .f32, device: device)
        let tokenizer = try Tokenizer.load(directory: own)
        let sampled: [Int32] = [5, 9, 300, 2]
        let rows = [
            row("the rain", " falls", ids: ([1, 4], sampled)),
            row("the rain", " falls", ids: ([1, 4], sampled), isFinished: false),
            row("the rain", ""),
        ]

        let (sharing, _) = try source(own, policy: own)
        var scored = rows
        _ = try sharing.fill(&scored, for: Probe(), context: CallContext())
        let text = try tokenizer.ids("the rain")
        let want = try model.scores([[1, 4] + sampled, [1, 4] + sampled, text + [2]])
        #expect(scored.map(\.modelScore) == want.map { Double($0) })

        let (foreign, _) = try source(own, policy: other)
        scored = rows
        _ = try foreign.fill(&scored, for: Probe(), context: CallContext())
        let whole = try tokenizer.ids("the rain falls")
        let anew = try model.scores([whole + [2], whole, text + [2]])
        #expect(scored.map(\.modelScore) == anew.map { Double($0) })
        #expect(scored[0].modelScore != scored[1].modelScore)
    }

    @Test func longTextsKeepTheirEndBehindTheStart() throws {
        let path = try make("rm", "ForSequenceClassification")
        let model = try Model.load(directory: path, dtype: .f32, device: device)
        let (short, _) = try source(path, policy: path, maxLength: 4)
        var rows = [
            row("", "", ids: ([1, 7, 8, 9], [10, 11, 2])), row("", "", ids: ([1, 7], [2])),
            row("", "", ids: ([7, 8, 9, 10], [2])),
        ]
        let metrics = try short.fill(&rows, for: Probe(), context: CallContext())
        let want = try model.scores([[1, 10, 11, 2], [1, 7, 2], [8, 9, 10, 2]])
        #expect(rows.map(\.modelScore) == want.map { Double($0) })
        let truncated = metrics.values.first { $0.name == "probe/truncated" }
        #expect(truncated?.value == 2.0 / 3)
    }

    @Test func aFolderIsLoadedOnce() throws {
        let path = try make("rm", "ForSequenceClassification")
        let models = RewardModels(device: device)
        let first = try models.load(path, .f32, place: "a")
        #expect(try models.load(path + "/", .f32, place: "b") === first)
        #expect(try models.load(folder.path("x/../rm"), .f32, place: "c") === first)
        #expect(models.count == 1)
        #expect(try models.load(path, .bf16, place: "d") !== first)
    }

    /// Each refusal names the key of the config and the folder.
    @Test func foldersOfTheWrongKindAreRefused() throws {
        let language = try make("lm", "ForCausalLM")
        let reward = try make("rm", "ForSequenceClassification")
        let refusal = { (path: String, isJudge: Bool) in
            try #require(throws: KeelError.self) {
                try RewardModels.check(path, isJudge: isJudge, place: "c.json:3:9, key K")
            }.description
        }
        #expect(
            try refusal(language, false) == """
                error[model]: a language model gives no scores
                  at:  c.json:3:9, key K: \(language)
                  fix: name a reward model (*ForSequenceClassification with one label), or use the reward "judge"
                """)
        #expect(
            try refusal(reward, true) == """
                error[model]: a reward model cannot answer questions
                  at:  c.json:3:9, key K: \(reward)
                  fix: name a language model, or use the reward "model"
                """)
        try Files.remove("\(reward)/tokenizer.json")
        #expect(
            try refusal(reward, false) == """
                error[model]: the folder has no tokenizer.json
                  at:  c.json:3:9, key K: \(reward)
                  fix: copy the tokenizer of the base model into it
                """)
        try Files.remove("\(language)/config.json")
        #expect(try refusal(language, true).contains("c.json:3:9, key K: "))
        try RewardModels.check(make("good", "ForCausalLM"), isJudge: true, place: "")
    }

    // MARK: - Judges

    private func judge(
        _ path: String, temperature: Double = 0, stop: [String] = [], chat: Bool? = false
    ) throws
        -> JudgeSource
    {
        var config = JudgeConfig()
        config.path = path
        config.maxNewTokens = 6
        config.temperature = temperature
        config.stop = stop
        config.chat = chat
        return try JudgeSource(config, RewardModels(device: device), seed: 3, place: "c.json")
    }

    private func replies(
        _ judge: JudgeSource, _ questions: [String?], ids: [UInt64], step: Int = 0
    ) throws -> (replies: [String?], tooLong: Double) {
        let probe = Probe()
        probe.questions = questions
        var rows = ids.map { row("p", "r", id: $0) }
        let metrics = try judge.fill(&rows, for: probe, context: CallContext(step: step))
        return (
            rows.map { $0.reply.map { String(decoding: $0, as: UTF8.self) } },
            metrics.values.first { $0.name == "probe/too_long" }?.value ?? .nan
        )
    }

    @Test func answersWhatItIsAsked() throws {
        let path = try make("lm", "ForCausalLM")
        let model = try Model.load(directory: path, dtype: .f32, device: device)
        let tokenizer = try Tokenizer.load(directory: path)
        let settings = GenerationSettings(maxNewTokens: 6, eosIDs: model.eosIDs)
        let question = "is it good?"
        let alone = try Generator(model, settings, sampler: ArgmaxSampling()).run([
            GenerationRequest(prompt: try tokenizer.ids(question), rowID: 9)
        ])
        let want = try tokenizer.decode(try #require(alone[0]).ids, skipSpecial: true)
        let long = String(repeating: "is it good? ", count: 60)
        let got = try replies(try judge(path), [question, nil, long, question], ids: [0, 1, 2, 3])
        #expect(got.replies == [want, nil, nil, want])
        #expect(got.tooLong == 1.0 / 3)
    }

    /// A judge with a template is asked as a user asks it, unless the config says otherwise.
    @Test func aChatModelIsAskedInItsTemplate() throws {
        let path = try make("chat", "ForCausalLM")
        // The text of a template says itself what begins it, where the tokenizer says it of other texts.
        try folder.write(
            "chat/chat_template.jinja",
            "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
        )
        let question: [String?] = ["is it good?"]
        func reply(_ question: [String?], chat: Bool?) throws -> [String?] {
            try replies(try judge(path, chat: chat), question, ids: [0]).replies
        }
        let rendered = try reply(["user: is it good?\nassistant:"], chat: false)
        #expect(try reply(question, chat: nil) == rendered)
        #expect(try reply(question, chat: true) == rendered)
        #expect(try reply(question, chat: false) != rendered)
        let plain = try make("plain", "ForCausalLM", tokenizer: "roberta_style")
        #expect(throws: KeelError.self) { try judge(plain, chat: true) }
        _ = try judge(plain, chat: nil)
    }

    /// At a temperature: other draws for every row, question and step; the same for the same, in any order.
    @Test func drawsDependOnRowQuestionAndStep() throws {
        let judge = try judge(try make("lm", "ForCausalLM"), temperature: 1)
        let question: [String?] = ["say", "say it", "say"]
        let first = try replies(judge, question, ids: [4, 4, 5]).replies
        #expect(Set(first).count == 3)
        #expect(try replies(judge, question, ids: [4, 4, 5]).replies == first)
        #expect(
            try replies(judge, question.reversed(), ids: [5, 4, 4]).replies == first.reversed())
        #expect(try replies(judge, question, ids: [4, 4, 5], step: 1).replies != first)
    }

    // MARK: - The runner around the runner

    @Test func thePluginSeesTheScoresOfAllRowsAtOnce() throws {
        let path = try make("rm", "ForSequenceClassification")
        let (source, _) = try source(path)
        let probe = Probe()
        let reward = ModelBackedReward(probe, source)
        try reward.submit([row("a", " b")], context: CallContext())
        try reward.submit([row("a", " c")], context: CallContext())
        #expect(probe.seen.isEmpty)
        let scores = try reward.collect()
        #expect(probe.seen.count == 2 && scores.allSatisfy { $0.value.isFinite })
        #expect(scores[0] != scores[1])
        #expect(reward.takeMetrics().values.map(\.name) == ["probe/truncated"])
        #expect(reward.takeMetrics().values.isEmpty)
    }
}
