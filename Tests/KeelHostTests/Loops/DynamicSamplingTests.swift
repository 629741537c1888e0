import KeelCore
import KeelModel
import KeelTensor
import KeelTestSupport
import KeelText
import Testing

@testable import KeelBridge
@testable import KeelHost

@Suite struct DynamicSamplingTests {
    /// Scores a response by its bytes, or by nothing where the prompt's number says so.
    private final class Judge: RewardRunner {
        let name = "judge"
        let component = Component(
            kind: .reward, name: "judge", help: "", needs: [], gives: [], heads: [],
            parameters: [], phases: [], flags: [], sequenceBytes: 0, stateVersion: 0,
            callbacks: [], pluginID: "test", pluginVersion: "1", api: 0, path: "/judge", sha256: "")
        let flat: Set<UInt64>
        private var waiting: [RewardRow] = []
        var columns: [String: Column] { [:] }

        init(flat: Set<UInt64>) { self.flat = flat }

        func ask(_ rows: [RewardRow], context: CallContext) -> [[UInt8]?] { [] }
        func submit(_ rows: [RewardRow], context: CallContext) { waiting += rows }
        func collect() -> [RewardScore] {
            defer { waiting = [] }
            return waiting.map { row in
                let score = row.tokens.reduce(Float(0)) { $0 + Float($1) }
                return RewardScore(
                    value: flat.contains(row.id) ? 1 : score, milliseconds: 1, isFailed: false)
            }
        }
        func takeMetrics() -> MetricSums { MetricSums() }
        func takeReport() -> RewardReport { RewardReport() }
        func save() -> Instance.State? { nil }
        func load(_ state: Instance.State) {}
    }

    private func maker(flat: Set<UInt64>) throws -> RolloutMaker {
        let root = Files.parent(Files.parent(Files.parent(#filePath)))
        let device = Device.cpu(threads: 2)
        let config: JSONObject = [
            "model_type": "llama", "vocab_size": 512, "hidden_size": 12, "intermediate_size": 20,
            "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
            "max_position_embeddings": 64, "eos_token_id": 0, "initializer_range": 0.3,
        ]
        let model = try Model.new(
            ModelConfig(config, path: "config.json"), seed: 1, device: device)
        let tokenizer = try Tokenizer.load(
            directory: Files.join(root, "Fixtures/tokenizers/llama3_style"))
        let sampling = Sampling(
            SamplerConfig(), model: model, tokenizer: tokenizer, sampler: Plain(),
            maxNewTokens: 4, seed: 3)
        let rewards = RewardSet(
            runners: [Judge(flat: flat)],
            composition: RewardComposition(
                parts: [.init(name: "judge", weight: 2)], missing: .stop))
        return RolloutMaker(
            sampling: sampling, rewards: rewards, reference: nil, samplesPerPrompt: 3)
    }

    /// Leaves every draw to the host.
    private final class Plain: TokenSampling {
        func sample(_ step: inout SamplingStep) throws -> [Int32] {
            [Int32](repeating: -1, count: step.rows)
        }
    }

    private func prompts(_ batch: Int) -> [Prompt] {
        (0..<4).map { Prompt(row: 4 * batch + $0, tokens: [5, Int32($0 + 7)], json: [:]) }
    }

    private func make(
        _ maker: RolloutMaker, _ wanted: Int, batches: Int = 5
    ) throws -> (rollout: Rollout, samples: [JSONObject], prompts: [Prompt], batches: Int) {
        try maker.make(
            wanted, choosing: DynamicSampling(maxBatches: batches),
            from: { (prompts($0), UInt64($0)) }, place: "rollout", context: CallContext())
    }

    @Test func promptsAreDrawnUntilThereAreEnoughGroups() throws {
        let made = try make(try maker(flat: [0, 2, 3, 5, 9]), 6)
        #expect(made.prompts.map(\.row) == [1, 4, 6, 7, 8, 10])
        #expect(
            made.rollout.rows.map(\.index) == made.prompts.flatMap { [$0.row, $0.row, $0.row] })
        #expect(made.rollout.group == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5])
        #expect(made.batches == 3)
        #expect(made.samples.count == 18)
        let metrics = made.rollout.metrics
        #expect(metrics["dynamic_sampling/batches"] == 3)
        // 7 of the 12 groups are worth a step; one more than was wanted.
        #expect(abs((metrics["dynamic_sampling/filtered_frac"] ?? 0) - 5.0 / 12) < 1e-12)
        #expect(metrics["frac_reward_zero_std"] == 0)
    }

    /// What is accepted says the same whether others were thrown away or not.
    @Test func acceptedTextsDoNotDependOnRejectedOnes() throws {
        let some = try make(try maker(flat: [0, 2, 5]), 5).rollout
        let all = try make(try maker(flat: []), 8).rollout
        for (row, logprobs) in zip(some.rows, some.oldLogprobs) {
            let same = all.rows.indices.filter { all.rows[$0] == row }
            #expect(same.contains { all.oldLogprobs[$0] == logprobs })
        }
    }

    @Test func aSpentBudgetGivesWhatThereIs() throws {
        let flat = Set((0..<100).filter { $0 != 5 }.map { UInt64($0) })
        let few = try make(try maker(flat: flat), 4, batches: 2)
        #expect(few.prompts.map(\.row) == [5])
        #expect(few.batches == 2)
        #expect(few.rollout.metrics["dynamic_sampling/groups"] == 1)
        let none = try make(try maker(flat: Set((0..<100).map { UInt64($0) })), 3, batches: 2)
        #expect(none.prompts.map(\.row) == [0, 1, 2])
        #expect(none.rollout.rewards == [Double](repeating: 2, count: 9))
        #expect(none.rollout.metrics["dynamic_sampling/groups"] == 0)
        #expect(none.rollout.metrics["dynamic_sampling/filtered_frac"] == 1)
    }

    @Test func theRules() {
        #expect(DynamicSampling.differ([1, 1, 2]))
        #expect(!DynamicSampling.differ([1, 1]) && !DynamicSampling.differ([]))
        let within = DynamicSampling.meanWithin(0, 1)
        #expect(within([0, 1]) && !within([0, 0]) && !within([1, 1]) && !within([]))
    }

    @Test func anUnknownRewardIsNamed() throws {
        let maker = try maker(flat: [])
        let error = #expect(throws: KeelError.self) {
            _ = try maker.make(
                1, choosing: DynamicSampling(maxBatches: 1, metric: "judgement"),
                from: { (prompts($0), UInt64($0)) }, place: "rollout", context: CallContext())
        }
        #expect(
            error?.what
                == "dynamic sampling looks at the reward \"judgement\", which the run does not have"
        )
        #expect(error?.fix == "use one of: judge")
    }
}
