import KeelCore
import Testing

@testable import KeelBridge

/// `Tests/ABI/coverage.c` uses every function of the host and every operation, and checks the answers.
@Suite(.serialized) struct CoverageTests {
    private static let path = Result {
        try ABI.compile(ABI.path("coverage.c"), include: ABI.include, name: "coverage.so")
    }

    private func component(_ name: String) throws -> Component {
        try Zoo.catalog.find("\(try Self.path.get())#\(name)", kind: nil)
    }

    private func objective(_ name: String, _ params: JSONObject = [:]) throws -> ObjectiveInstance {
        let component = try component(name)
        return try ObjectiveInstance(
            component, catalog: Zoo.catalog, parameters: try component.validate(params: params),
            device: Zoo.device, precision: .f64)
    }

    private static var logprobs: ColumnBatch {
        var batch = ColumnBatch(rows: 2)
        batch.columns["logprobs"] = Column(shape: [2, 3], [-1, -2, -3, -4, -5, -6])
        batch.columns["mask"] = Column(shape: [2, 3], [1, 1, 1, 1, 1, 0])
        return batch
    }

    // MARK: - One round through every service

    private func rewards() throws {
        let component = try component("cover_reward")
        let reward = try InProcessReward(
            component, catalog: Zoo.catalog, parameters: try component.validate(params: [:]))
        let rows = (0..<2).map { index in
            RewardRow(
                id: UInt64(index), prompt: Array("p\(index)".utf8),
                response: Array("r\(index)".utf8), tokens: [9, 8].suffix(2), promptTokens: [11],
                row: index == 0 ? ["answer": "forty-two", "list": [1, 2]] : [:], group: 5)
        }
        let context = CallContext(step: 12)
        #expect(
            try reward.ask(rows, context: context) == [Array("why?".utf8), Array("how?\0".utf8)])
        try reward.submit(rows, context: context)
        let scores = try reward.collect().map(\.value)
        #expect(scores[0] == 1 && scores[1].isNaN)
        #expect(reward.columns["token_rewards"] == Column(shape: [2, 2], [1, 2, 3, 4]))
        let metrics = reward.takeMetrics()
        #expect(metrics["cover_reward/two"] == 2 && metrics["cover_reward/most"] == 3)
        let state = try #require(try reward.save())
        try reward.load(state)
        #expect(message { try reward.load(.init(version: 6, bytes: [])) }.contains("not mine"))
    }

    private func objectives() throws {
        let every = try objective("cover_ops")
        #expect(every.reduction() == .constant && every.reductionConstant == 2)
        var batch = Self.logprobs
        try every.prepare(&batch, context: CallContext())
        let result = try every.evaluate(batch, context: CallContext())
        #expect(result.loss == 27.5)
        #expect(result.gradients["logprobs"]?.values == [-0.5, -1, -1.5, -2, -2.5, 0])
        #expect(result.metrics["logprob"] == -3)
        let explicit = try objective("cover_grad")
        let squares = try explicit.evaluate(
            Self.logprobs, reduction: .constant, constant: 1, context: CallContext())
        #expect(squares.perRow == [14, 77])
        #expect(squares.gradients["logprobs"]?.values == [-2, -4, -6, -8, -10, 0])
    }

    private func samplers() throws {
        let token = try component("cover_tokens")
        let sampler = try TokenSamplerInstance(
            token, catalog: Zoo.catalog, parameters: try token.validate(params: [:]))
        var states: [[UInt8]] = [[0]]
        for expected: Int32 in [-1, 1] {
            var logits: [Float] = [1, 2, 3]
            let chosen = try sampler.sample(
                logits: &logits, vocabulary: 3,
                sequences: [.init(id: 1, tokens: [4, 5], promptLength: 1)], states: &states,
                context: CallContext())
            #expect(chosen == [expected] && logits[0] == -.infinity)
        }
        let data = try component("cover_order")
        let order = try DataSamplerInstance(
            data, catalog: Zoo.catalog, parameters: try data.validate(params: [:]))
        #expect(try order.order(epoch: 2, count: 5) == [2, 3, 4, 0, 1])
        var batch = ColumnBatch(rows: 2)
        batch.columns["rewards"] = Column([0.25, 1])
        try order.feedback(rows: [4, 2], batch: batch, context: CallContext())
    }

    @Test func everyFunctionAndEveryOperationIsUsed() throws {
        try rewards()
        try objectives()
        try samplers()
        let state = try #require(try objective("cover_grad").save())
        let slots = HostTable.bytes.count / 8
        let functions = ABI.read("layout.h").matches(of: /KEEL_FIELD\(keel_host, (\w+), ([0-9]+),/)
        #expect(functions.count == slots + 1, "size, api and \(slots - 1) functions")
        for function in functions {
            let offset = Int(function.2) ?? 0
            guard offset >= 8 else { continue }
            #expect(state.bytes[offset / 8] == 1, "coverage.c never calls \(function.1)")
        }
        let codes = ABI.header.matches(of: /(KEEL_OP_\w+) = ([0-9]+)/)
        #expect(codes.count > 50)
        for code in codes {
            #expect(
                state.bytes[slots + (Int(code.2) ?? 0)] == 1, "coverage.c never uses \(code.1)")
        }
    }

    @Test func thePluginAnswersQueries() throws {
        let loaded = try Zoo.catalog.load(try component("cover_order"))
        let table = try #require(loaded.table("x.answer/1"))
        #expect(table.load(as: UInt32.self) == 8)
        #expect(table.load(fromByteOffset: 4, as: UInt32.self) == 42)
        #expect(loaded.table("x.answer/2") == nil)
        #expect(try Zoo.catalog.load(try component("cover_ops")).table("x.answer/1") == nil)
        #expect(try Zoo.catalog.load(try Zoo.component("zoo_dpo")).table("x.answer/1") == nil)
    }

    // MARK: - Gradients where a definition speaks of them

    struct Slope: CustomTestStringConvertible, Sendable {
        var name: String
        var a: [Double]
        var b: [Double] = []
        var condition = 1.0
        var k: [Double] = []
        var silent = false
        var da: [Double]
        var db: [Double] = []
        var testDescription: String { "\(name) \(a) \(b)" }
    }

    static let slopes: [Slope] = [
        Slope(name: "MIN", a: [1, 1, 2], b: [1, 2, 1], da: [0.5, 1, 0], db: [0.5, 0, 1]),
        Slope(name: "MAX", a: [1, 1, 2], b: [1, 2, 1], da: [0.5, 0, 1], db: [0.5, 1, 0]),
        Slope(
            name: "POW", a: [0, 0, 1, 2], b: [0, 2, 5, 0], da: [0, 0, 5, 0],
            db: [0, 0, 0, 0.6931471805599453]),
        Slope(
            name: "WHERE", a: [.nan, .infinity], b: [2, 3], condition: 0, da: [0, 0], db: [1, 1]),
        Slope(name: "WHERE", a: [2, 3], b: [.nan, .nan], condition: -1, da: [1, 1], db: [0, 0]),
        Slope(name: "DIV", a: [1, 0], b: [0, 0], silent: true, da: [0, 0], db: [0, 0]),
        Slope(name: "LOG", a: [0, -1], silent: true, da: [0, 0]),
        Slope(name: "SQRT", a: [0, 4], silent: true, da: [0, 0]),
        Slope(name: "SQRT", a: [4], da: [0.25]),
        Slope(name: "ABS", a: [-2, 0, 2], da: [-1, 0, 1]),
        Slope(name: "RELU", a: [-2, 0, 2], da: [0, 0, 1]),
        Slope(name: "CLAMP", a: [-2, -1, 0, 1, 2], k: [-1, 1], da: [0, 1, 1, 1, 0]),
        Slope(name: "CLAMP", a: [-2, 5], k: [-.infinity, 1], da: [1, 0]),
        Slope(name: "AMAX", a: [3, 3, 1], da: [0.5, 0.5, 0]),
        Slope(name: "AMIN", a: [3, 1, 1], da: [0, 0.5, 0.5]),
        Slope(name: "LOGSUMEXP", a: [-.infinity, -.infinity], da: [0, 0]),
        Slope(name: "LOGSUMEXP", a: [-.infinity, 0], da: [0, 1]),
        Slope(name: "SOFTMAX", a: [.nan, 1], silent: true, da: [0, 0]),
        Slope(name: "LOG_SOFTMAX", a: [-.infinity, -.infinity], silent: true, da: [0, 0]),
        Slope(name: "CUMSUM", a: [1, 2, 3], da: [3, 2, 1]),
        Slope(name: "CUMSUM", a: [1, 2, 3], k: [0, 1], da: [1, 2, 3]),
        Slope(name: "DETACH", a: [1, 2], da: [0, 0]),
        Slope(name: "WHITEN", a: [1, 2], da: [0, 0]),
        Slope(name: "GT", a: [1, 2], k: [1], da: [0, 0]),
        Slope(name: "CAST", a: [1.5, 2], k: [2, 32], da: [1, 1]),
        Slope(name: "CAST", a: [1.5, 2], k: [0, 32], da: [0, 0]),
        Slope(name: "SIGMOID", a: [-800, 800], da: [0, 0]),
        Slope(name: "LOG_SIGMOID", a: [-800, 800], da: [1, 0]),
        Slope(name: "SOFTPLUS", a: [-800, 800], da: [0, 1]),
    ]

    @Test(arguments: slopes) func gradientsAreThoseOfTheDefinition(_ slope: Slope) throws {
        let code = try #require(
            ABI.header.firstMatch(of: try Regex("KEEL_OP_\(slope.name) = ([0-9]+)"))?[1].substring)
        let inputs = slope.name == "WHERE" ? 3 : slope.b.isEmpty ? 1 : 2
        let one = try objective(
            "cover_one",
            [
                "code": .int(Int64(code) ?? 0), "inputs": JSON(inputs),
                "k": .array(slope.k.map { $0.isFinite ? .double($0) : .double(-1e300) }),
                "silent": .bool(slope.silent),
            ])
        var batch = ColumnBatch(rows: slope.a.count)
        batch.columns["seq_logprobs"] = Column(slope.a)
        batch.columns["scores"] = Column(slope.b.isEmpty ? slope.a : slope.b)
        batch.columns["rewards"] = Column(slope.a.map { _ in slope.condition })
        let result = try one.evaluate(
            batch, reduction: .constant, constant: 1, context: CallContext())
        for (name, want) in [("seq_logprobs", slope.da), ("scores", slope.db)] where !want.isEmpty {
            let got = try #require(result.gradients[name]?.values)
            for (cell, expected) in zip(got, want) {
                #expect(abs(cell - expected) <= 1e-12, "\(slope.name): \(name) \(got), not \(want)")
            }
        }
    }
}
