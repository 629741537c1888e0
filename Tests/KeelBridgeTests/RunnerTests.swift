import KeelCore
import Testing

@testable import KeelBridge

struct RewardRunnerTests {
    private func reward(_ params: JSONObject = [:]) throws -> InProcessReward {
        let component = try Zoo.component("zoo_count")
        return try InProcessReward(
            component, catalog: Zoo.catalog, parameters: try component.validate(params: params),
            name: "counter")
    }

    private func row(_ id: UInt64, _ response: String, _ row: JSON = [:]) -> RewardRow {
        RewardRow(
            id: id, prompt: Array("p".utf8), response: Array(response.utf8), tokens: [1, 2],
            row: row)
    }

    @Test func scoresComeInOrderAndNaNMeansNotApplicable() throws {
        let reward = try reward()
        try reward.submit([row(1, "abc", ["bonus": "ten"]), row(2, "")], context: CallContext())
        try reward.submit([row(3, "a\0c")], context: CallContext())
        let scores = try reward.collect()
        #expect(scores.map(\.value.description) == ["13.0", "nan", "3.0"])
        #expect(reward.takeMetrics()["counter/calls"] == 1)
        #expect(try reward.collect().isEmpty)
    }

    @Test func batchesMayBeSplit() throws {
        let reward = try reward()
        reward.rowsPerCall = 1
        try reward.submit([row(1, "a"), row(2, "ab"), row(3, "abc")], context: CallContext())
        #expect(try reward.collect().map(\.value) == [1, 2, 3])
        #expect(reward.takeMetrics()["counter/calls"] == 2)
    }

    @Test func failuresNameTheReward() throws {
        let reward = try reward()
        try reward.submit([row(41, "infinite")], context: CallContext())
        #expect(
            message { _ = try reward.collect() }.contains(
                "reward \"counter\" (zoo_count) gave inf to row 41"))
        try reward.submit([row(1, "fail")], context: CallContext())
        #expect(
            message { _ = try reward.collect() }.contains(
                "returned the status \"unsupported\" without a text"))
        let text = message { _ = try self.reward(["refuse": true]) }
        #expect(text.contains("refuse is on") && text.contains(", create"))
    }

    @Test func stateSurvives() throws {
        let first = try reward()
        for _ in 0..<3 {
            try first.submit([row(1, "a")], context: CallContext())
            _ = try first.collect()
        }
        let state = try #require(try first.save())
        #expect(state == Instance.State(version: 3, bytes: [3, 0, 0, 0, 0, 0, 0, 0]))
        let second = try reward()
        try second.load(state)
        try second.submit([row(1, "a")], context: CallContext())
        _ = try second.collect()
        #expect(second.takeMetrics()["counter/calls"] == 4)
        #expect(
            message { try second.load(Instance.State(version: 2, bytes: state.bytes)) }.contains(
                "not a state of mine"))
    }
}

struct TokenSamplerInstanceTests {
    private func sampler(_ misdeed: Int64 = 0) throws -> TokenSamplerInstance {
        let component = try Zoo.component("zoo_once")
        return try TokenSamplerInstance(
            component, catalog: Zoo.catalog,
            parameters: try component.validate(params: ["misdeed": .int(misdeed)]))
    }

    private func sample(
        _ sampler: TokenSamplerInstance, _ states: inout [[UInt8]]
    ) throws -> ([Int32], [Float]) {
        var logits: [Float] = [1, 2, 3, 3, 2, 1]
        let sequences = (0..<2).map {
            TokenSamplerInstance.Sequence(id: $0, tokens: [7, 8], promptLength: 1)
        }
        let tokens = try sampler.sample(
            logits: &logits, vocabulary: 3, sequences: sequences, states: &states,
            context: CallContext())
        return (tokens, logits)
    }

    @Test func stateTravelsWithTheSequence() throws {
        let sampler = try sampler()
        #expect(sampler.sequenceBytes == 16)
        var states = [[UInt8]](repeating: [UInt8](repeating: 0, count: 16), count: 2)
        #expect(try sample(sampler, &states).0 == [2, 0])
        let (tokens, logits) = try sample(sampler, &states)
        #expect(tokens == [1, 1])
        #expect(logits[2] == -.infinity && logits[3] == -.infinity)
        states.swapAt(0, 1)
        #expect(try sample(sampler, &states).0 == [2, 0])
    }

    @Test(arguments: [
        (1, "chose token 3 of 3"), (2, "excluded every token"), (3, "which is excluded"),
    ])
    func impossibleChoicesAreRefused(_ misdeed: Int, _ expected: String) throws {
        let sampler = try sampler(Int64(misdeed))
        var states = [[UInt8]](repeating: [UInt8](repeating: 0, count: 16), count: 2)
        let text = message { _ = try sample(sampler, &states) }
        #expect(text.contains(expected), "\(text)")
    }
}

struct DataSamplerInstanceTests {
    private func sampler(seed: UInt64 = 0, outside: Bool = false) throws -> DataSamplerInstance {
        let component = try Zoo.component("zoo_shuffle")
        return try DataSamplerInstance(
            component, catalog: Zoo.catalog,
            parameters: try component.validate(params: ["outside": .bool(outside)]), seed: seed)
    }

    @Test func anOrderIsAPureFunctionOfSeedAndEpoch() throws {
        let order = try sampler().order(epoch: 1, count: 50)
        #expect(order.sorted() == Array(0..<50))
        #expect(order != Array(0..<50))
        #expect(try sampler().order(epoch: 1, count: 50) == order)
        #expect(try sampler().order(epoch: 2, count: 50) != order)
        #expect(try sampler(seed: 1).order(epoch: 1, count: 50) != order)
        #expect(try sampler().order(epoch: 0, count: 3, length: 7).count == 7)
    }

    @Test func aRowThatDoesNotExistIsRefused() throws {
        let sampler = try sampler(outside: true)
        #expect(
            message { _ = try sampler.order(epoch: 4, count: 9) }.contains(
                "put row 9 at place 0 of epoch 4; there are 9 rows"))
    }
}
