import Foundation
import KeelCore
import Testing

struct TokenSamplerTests {
    private func edited(
        _ plugin: String, _ params: JSONObject, context: [Int64] = []
    ) throws -> JSON {
        let request: JSON = [
            "rows": 1, "params": .object(params), "token_ids": [.array(context.map { .int($0) })],
            "columns": ["logits": ["shape": [1, 5], "data": [1, 3, -2, 2, 0]]],
        ]
        return try Workbench.eval(plugin, request)
    }

    @Test func greedyTakesTheLikeliest() throws {
        expectClose(try edited("greedy", [:]).at("tokens").cells, [1], rtol: 0, atol: 0, "token")
    }

    @Test func nucleusLeavesTheDrawToTheHostAndDoesNothingByDefault() throws {
        let answer = try edited("nucleus", [:])
        expectClose(try answer.at("tokens").cells, [-1], rtol: 0, atol: 0, "token")
        expectClose(try answer.at("logits").cells, [1, 3, -2, 2, 0], rtol: 0, atol: 0, "logits")
    }

    /// softmax([1, 3, -2, 2, 0]) is about 0.087, 0.641, 0.004, 0.236, 0.032.
    @Test(
        arguments: [
            ("top_k", 2.0, [1, 3]), ("top_p", 0.6, [1]), ("top_p", 0.65, [1, 3]),
            ("min_p", 0.2, [1, 3]),
            ("epsilon_cutoff", 0.05, [0, 1, 3]), ("typical_p", 0.2, [3]),
        ] as [(String, Double, [Int])])
    func cutsKeepTheExpectedTokens(_ name: String, _ value: Double, _ kept: [Int]) throws {
        let number: JSON = name == "top_k" ? .int(Int64(value)) : .double(value)
        let logits = try edited("nucleus", [name: number]).at("logits").cells
        #expect(
            logits.indices.filter { logits[$0] > -.infinity } == kept, "\(name) \(value): \(logits)"
        )
    }

    @Test func penaltiesLookAtTheContext() throws {
        let answer = try edited("nucleus", ["repetition_penalty": 2], context: [1, 1, 2])
        expectClose(try answer.at("logits").cells, [1, 1.5, -4, 2, 0], rtol: 0, atol: 0, "logits")
        let banned = try edited("nucleus", ["no_repeat_ngram_size": 2], context: [4, 1, 4]).at(
            "logits"
        ).cells
        expectClose(banned, [1, -.infinity, -2, 2, 0], rtol: 0, atol: 0, "logits")
    }
}

struct DataSamplerTests {
    private func order(
        _ plugin: String, rows: Int64, epoch: Int64 = 0, seed: Int64 = 7
    ) throws -> [Double] {
        let request: JSON = ["rows": .int(rows), "epoch": .int(epoch), "seed": .int(seed)]
        return try Workbench.eval(plugin, request).at("order").cells
    }

    @Test func sequentialKeepsTheOrder() throws {
        #expect(try order("sequential", rows: 5, epoch: 3) == [0, 1, 2, 3, 4])
    }

    @Test func shuffleIsAPermutationOfSeedAndEpoch() throws {
        let first = try order("shuffle", rows: 100)
        #expect(first.sorted() == (0..<100).map(Double.init))
        #expect(first != first.sorted())
        #expect(try order("shuffle", rows: 100) == first)
        #expect(try order("shuffle", rows: 100, epoch: 1) != first)
        #expect(try order("shuffle", rows: 100, seed: 8) != first)
    }

    /// Every row comes first equally often: 600 epochs of 3 rows, 200 each, standard deviation 11.5.
    @Test func shuffleIsFair() throws {
        var firsts = [0, 0, 0]
        for epoch in 0..<600 {
            firsts[Int(try order("shuffle", rows: 3, epoch: Int64(epoch))[0])] += 1
        }
        #expect(firsts.allSatisfy { abs($0 - 200) < 5 * 12 }, "\(firsts)")
    }
}
