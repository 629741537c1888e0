import Foundation
import KeelBridge
import KeelCore
import KeelHost
import KeelTensor
import Testing

/// `Fixtures/plugins/sdk.swift`, built as `keel plugin build` does: what the host sees of the Swift SDK.
@Suite(.serialized) struct SDKTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()
    private static let path = Result {
        let output = FileManager.default.temporaryDirectory.appendingPathComponent(
            "keel-sdk-\(getpid()).so"
        ).path
        let source = root.appendingPathComponent("Tests/Fixtures/plugins/sdk.swift").path
        return try PluginBuild(sources: [source], output: output).run(catalog: Workbench.catalog)
            .path
    }

    private func component(_ name: String) throws -> Component {
        try Workbench.catalog.find("\(try Self.path.get())#\(name)", kind: nil)
    }

    private func message(_ body: () throws -> Void) -> String {
        do {
            try body()
            return "no error"
        } catch {
            return "\(error)"
        }
    }

    // MARK: - Rewards

    private func reward(_ name: String, _ params: JSONObject = [:]) throws -> InProcessReward {
        let component = try component(name)
        return try InProcessReward(
            component, catalog: Workbench.catalog,
            parameters: try component.validate(params: params))
    }

    private func row(
        _ id: UInt64, _ response: String = "good", _ row: JSON = [:], group: Int32 = 0,
        model: Double? = nil, reply: String? = nil
    ) -> RewardRow {
        RewardRow(
            id: id, prompt: Array("what?".utf8), response: Array(response.utf8),
            tokens: [Int32](repeating: 6, count: Int(id) + 1), promptTokens: [1, 2], row: row,
            group: group, modelScore: model, reply: reply.map { Array($0.utf8) })
    }

    private func scores(_ reward: InProcessReward, _ rows: [RewardRow]) throws -> [Float] {
        try reward.submit(rows, context: CallContext())
        return try reward.collect().map(\.value)
    }

    @Test func aRewardReadsTextsRowsIdsAndParameters() throws {
        let reward = try reward("probe_reward")
        let rows = [
            row(0), row(1, ""), row(2, "x", ["what": "params"]),
            row(3, "x", ["what": "json", "deep": ["list": [1, 2]]]), row(4, "x", ["what": "row"]),
            row(5, "x", ["what": "ids"]), row(6, "x", ["what": "random"]),
        ]
        let scores = try scores(reward, rows)
        #expect(scores[0] == 504)
        #expect(scores[1].isNaN)
        #expect(scores[2] == 11_126.75)  // one part per parameter
        #expect(Array(scores[3...]) == [2, 2, 26, 1])
        #expect(reward.takeMetrics()["probe_reward/calls"] == 7)
        let tokens = try #require(reward.columns["token_rewards"])
        #expect(tokens.shape == [7, 7])
        #expect(Array(tokens.values[7..<14]) == [3, 3, 0, 0, 0, 0, 0])
    }

    @Test func aRewardAsksAndReadsWhatTheHostFound() throws {
        let reward = try reward("probe_reward")
        let questions = try reward.ask([row(0), row(1)], context: CallContext())
        #expect(questions == [Array("Is «good» good?".utf8), nil])
        #expect(
            try scores(reward, [row(0, reply: "yes"), row(1, reply: "no"), row(2)]) == [1, 0, 504])
        #expect(try scores(reward, [row(0, model: 0.125)]) == [0.125])
    }

    @Test func optionalParametersMayBeNullOrSet() throws {
        let reward = try reward(
            "probe_reward",
            [
                "open": true, "ratio": .null, "most": 4, "hint": "h", "number": -1,
                "any": ["a": [3]], "whole": [0],
            ])
        let got = try scores(reward, [row(0, "x", ["what": "params"])])
        #expect(got == [70])
        for (key, value, text) in [
            ("open", "x" as JSON, "must be true, false or null, not \"x\""),
            ("most", 1.5, "must be a whole number or null, not 1.5"),
            ("whole", [0.5], "must hold whole numbers, not [0.5]"),
            ("words", [1], "must be an array of strings, not [1]"),
            ("numbers", [99], "numbers"), ("colour", "green", "colour"),
        ] {
            let got = message { _ = try self.reward("probe_reward", [key: value]) }
            #expect(got.contains(text), "\(got)")
        }
    }

    @Test func aGroupRewardSeesGroups() throws {
        let reward = try reward("probe_group")
        #expect(reward.component.flags.contains(.coupled))
        let got = try scores(
            reward,
            [
                row(0, "a", group: 1), row(1, "bbb", group: 2), row(2, "cc", group: 1),
            ])
        #expect(got[0] == 0 && got[1].isNaN && got[2] == 1)
    }

    @Test(arguments: ["setup", "ask", "tokens", "score", "save"])
    func whatARewardThrowsIsReported(_ place: String) throws {
        for suffix in ["", "!"] {
            let text = message {
                let reward = try reward("probe_reward", ["fail": .string(place + suffix)])
                _ = try reward.ask([row(9)], context: CallContext())
                _ = try scores(reward, [row(9)])
                _ = try reward.save()
            }
            #expect(
                text.contains(
                    "probe_reward\": "
                        + (suffix.isEmpty ? "thrown in \(place)" : "not a plugin error")), "\(text)"
            )
        }
    }

    @Test func stateGoesRoundAndDamagedStateIsRefused() throws {
        let first = try reward("probe_reward")
        _ = try scores(first, [row(0), row(1)])
        let state = try #require(try first.save())
        #expect(state.version == 4)
        let second = try reward("probe_reward")
        try second.load(state)
        _ = try scores(second, [row(0)])
        #expect(second.takeMetrics()["probe_reward/calls"] == 3)
        for bytes in [
            Array(state.bytes.dropLast()), state.bytes + [0], [],
            [UInt8](repeating: 255, count: 24),
        ] {
            let text = message { try second.load(.init(version: 4, bytes: bytes)) }
            #expect(text.contains("a state"), "\(bytes.count): \(text)")
        }
    }

    // MARK: - Objectives

    private func objective(_ name: String, _ params: JSONObject = [:]) throws -> ObjectiveInstance {
        let component = try component(name)
        return try ObjectiveInstance(
            component, catalog: Workbench.catalog,
            parameters: try component.validate(params: params), device: .cpu(threads: 1),
            precision: .f64)
    }

    @Test func phasesAndHeadsAreDescribed() throws {
        let component = try component("probe_phases")
        #expect(component.heads == ["value_head:attention_pool"])
        #expect(component.phases.map(\.name) == ["value", "policy"])
        let (value, policy) = (component.phases[0], component.phases[1])
        #expect(value.data == "scored" && value.needs == ["seq_values", "rewards"])
        #expect(value.trains == ["value_head"] && value.epochs == "value_epochs")
        #expect(value.flags == .prepareDataset && value.reduction == "row_mean")
        #expect(policy.data == "pairs" && policy.trains == ["policy"])
        #expect(
            policy.needs == [
                "chosen.seq_logprobs", "rejected.seq_logprobs", "chosen.ref_seq_logprobs",
                "rejected.ref_seq_logprobs", "margin?",
            ])
        #expect(policy.steps == "policy_steps" && policy.reduction == "constant")
        let other = try self.component("probe_loss")
        #expect(other.flags == [.coupled, .linear, .nondeterministic] && other.data == "ranked")
    }

    /// A group's parameters are the component's, where the group stands; a configured value reaches it.
    @Test func groupsOfParameters() throws {
        let component = try component("probe_phases")
        #expect(
            component.parameters.map(\.name) == ["before", "value_epochs", "policy_steps", "after"])
        var scored = ColumnBatch(rows: 1)
        scored.columns["rewards"] = Column([1])
        let objective = try objective("probe_phases", ["value_epochs": 7])
        let metrics = try objective.prepare(&scored, context: CallContext(phase: "value"))
        #expect(metrics["epochs"] == 7)
    }

    @Test func eachPhaseHasItsLoss() throws {
        let objective = try objective("probe_phases")
        var scored = ColumnBatch(rows: 3)
        scored.columns["seq_values"] = Column([1, 2, 3])
        scored.columns["rewards"] = Column([0, -1, 5])
        let value = CallContext(phase: "value")
        let metrics = try objective.prepare(&scored, context: value)
        #expect(metrics["kept"] == 2)
        #expect(scored.columns["weight"]?.values == [1, 0, 1])
        let loss = try objective.evaluate(scored, context: value)
        #expect(loss.loss == 2.5 && loss.gradients["seq_values"]?.values == [1, 0, -2])
        var pairs = ColumnBatch(rows: 1)
        pairs.columns["chosen.seq_logprobs"] = Column([-1])
        pairs.columns["rejected.seq_logprobs"] = Column([-1])
        let policy = try objective.evaluate(
            pairs, constant: 2, context: CallContext(phase: "policy"))
        #expect(policy.loss == 0.34657359027997264)
    }

    @Test func explicitGradientsReachTheHost() throws {
        var batch = ColumnBatch(rows: 2)
        batch.columns["logprobs"] = Column(shape: [2, 2], [-1, -2, -3, -4])
        batch.columns["mask"] = Column(shape: [2, 2], [1, 1, 1, 0])
        let got = try objective("probe_explicit").evaluate(batch, context: CallContext())
        #expect(got.perRow == [5, 25])
        #expect(got.gradients["logprobs"]?.values == [-1, -2, -3, 0])
    }

    @Test func operationsAndThrownErrors() throws {
        var batch = ColumnBatch(rows: 2)
        batch.columns["seq_logprobs"] = Column(shape: [2, 2], [-1, -2, -3, -4])
        batch.columns["valid"] = Column(shape: [2, 2], [1, 1, 1, 0])
        batch.columns["rank"] = Column(shape: [2, 2], ints: [0, 1, 0, 1])
        let loss = try objective("probe_loss")
        #expect(loss.reduction() == .constant && loss.reductionConstant == 4)
        try loss.prepare(&batch, context: CallContext())
        let got = try loss.evaluate(batch, context: CallContext())
        #expect(got.loss == -2.5)
        #expect(got.gradients["seq_logprobs"]?.values == [0.5, 0.25, 0.5, 0])
        for place in ["prepare", "loss", "loss!"] {
            let text = message {
                let bad = try objective("probe_loss", ["fail": .string(place)])
                var batch = batch
                try bad.prepare(&batch, context: CallContext())
                _ = try bad.evaluate(batch, context: CallContext())
            }
            #expect(text.contains(place == "loss!" ? "not a plugin error" : "thrown in \(place)"))
        }
        #expect(try loss.save() == Instance.State(version: 1, bytes: []))
        #expect(
            message { try loss.load(.init(version: 1, bytes: [1])) }.contains("an empty state"))
    }

    // MARK: - Samplers

    @Test func theMemoryOfASequenceTravelsWithIt() throws {
        let component = try component("probe_sequence")
        #expect(component.sequenceBytes == 16)
        let sampler = try TokenSamplerInstance(
            component, catalog: Workbench.catalog, parameters: try component.validate(params: [:]))
        var states = [[UInt8]](repeating: [UInt8](repeating: 0, count: 16), count: 2)
        func draw(_ rows: Int) throws -> [Int32] {
            var logits = [Float](repeating: 1, count: 3 * rows)
            var some = Array(states.suffix(rows))
            defer { states.replaceSubrange(2 - rows..<2, with: some) }
            return try sampler.sample(
                logits: &logits, vocabulary: 3,
                sequences: (0..<rows).map {
                    .init(id: UInt64($0), tokens: [5, 5], promptLength: 1)
                },
                states: &some, context: CallContext())
        }
        #expect(try draw(1) == [1])
        #expect(try draw(2) == [1, 2])
        #expect(try draw(2) == [2, -1])
        #expect(message { _ = try draw(1) }.contains("drawn 3, sum 6.0"))
    }

    @Test func aDataSamplerLearnsFromFeedback() throws {
        let component = try component("probe_order")
        func sampler(_ fail: String = "") throws -> DataSamplerInstance {
            try DataSamplerInstance(
                component, catalog: Workbench.catalog,
                parameters: try component.validate(params: ["fail": .string(fail)]))
        }
        let first = try sampler()
        #expect(first.hasFeedback)
        #expect(try first.order(epoch: 0, count: 4) == [0, 1, 2, 3])
        var batch = ColumnBatch(rows: 2)
        batch.columns["rewards"] = Column([1, -1])
        try first.feedback(rows: [2, 0], batch: batch, context: CallContext())
        #expect(try first.order(epoch: 1, count: 4, length: 5) == [2, 1, 3, 0, 2])
        let second = try sampler()
        try second.load(try #require(try first.save()))
        #expect(try second.order(epoch: 1, count: 4) == [2, 1, 3, 0])
        #expect(
            message { _ = try sampler("order").order(epoch: 0, count: 1) }.contains(
                "thrown in order"))
        let text = message {
            try sampler("feedback!").feedback(rows: [1, 2], batch: batch, context: CallContext())
        }
        #expect(text.contains("not a plugin error"))
    }
}
