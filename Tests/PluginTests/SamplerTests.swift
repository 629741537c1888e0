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

    private func order(
        _ plugin: String, params: JSONObject, columns: JSONObject, count: Int,
        epoch: Int64 = 0, seed: Int64 = 7
    ) throws -> [Int] {
        let request: JSONObject = [
            "rows": JSON(count), "epoch": .int(epoch), "seed": .int(seed),
            "params": .object(params), "columns": .object(columns),
        ]
        return try Workbench.eval(plugin, .object(request)).at("order").cells.map { Int($0) }
    }

    private func column(_ values: [Int]) -> JSON {
        ["shape": [JSON(values.count)], "data": .array(values.map { JSON($0) })]
    }

    /// Steps of four rows: alike in length, the longest first, every row once.
    @Test func lengthGroupedSteps() throws {
        let lengths = (0..<102).map { $0 * 37 % 101 }
        let params: JSONObject = ["batch_size": 4, "group_factor": 5]
        func made(_ epoch: Int64, _ seed: Int64 = 7) throws -> [Int] {
            try order(
                "length_grouped", params: params,
                columns: ["length": column(lengths), "prompt_length": column(lengths)], count: 102,
                epoch: epoch, seed: seed)
        }
        let first = try made(0)
        #expect(first.sorted() == Array(0..<102))
        #expect(try made(0) == first)
        #expect(try made(1) != first && made(0, 8) != first)
        let steps = stride(from: 0, to: 100, by: 4).map { first[$0..<$0 + 4].map { lengths[$0] } }
        #expect(steps[0].max() == 100)
        let spread = steps.map { Double(($0.max() ?? 0) - ($0.min() ?? 0)) }.reduce(0, +) / 25
        #expect(spread < 25, "\(spread)")  // 60 where rows are taken at random
        // The order of the steps says nothing about length.
        let halves = [steps.prefix(12), steps.suffix(12)].map { half in
            Double(half.flatMap { $0 }.reduce(0, +)) / 48
        }
        #expect(abs(halves[0] - halves[1]) < 30, "\(halves)")
    }

    @Test func curriculumGrowsFromEasyToHard() throws {
        let hard = (0..<200).map { $0 * 73 % 199 }
        func made(_ params: JSONObject, epoch: Int64 = 0) throws -> [Int] {
            try order(
                "curriculum", params: params, columns: ["length": column(hard)], count: 200,
                epoch: epoch)
        }
        for pacing in ["linear", "root"] {
            let rows = try made(["start": 0.2, "pacing": .string(pacing)])
            #expect(rows.sorted() == Array(0..<200))
            #expect(rows.prefix(20).allSatisfy { hard[$0] < 80 }, "\(rows.prefix(20))")
            let mean = { (part: ArraySlice<Int>) in part.reduce(0) { $0 + hard[$1] } / part.count }
            #expect(mean(rows.prefix(60)) + 40 < mean(rows.suffix(60)))
            #expect(try made(["start": 0.2, "pacing": .string(pacing)]) == rows)
        }
        let sorted = try made(["pacing": "sorted"])
        #expect(sorted.map { hard[$0] } == hard.sorted())
        let down = try made(["pacing": "sorted", "descending": true])
        #expect(down.map { hard[$0] } == hard.sorted(by: >))
        // Over two epochs, the first meets the easy ones again instead of the hard ones.
        let slow = try made(["epochs": 2, "start": 0.1])
        #expect(slow.allSatisfy { hard[$0] <= 110 } && Set(slow).count < 120)
        // When all are there, it shuffles.
        let after = try made([:], epoch: 1)
        #expect(after.sorted() == Array(0..<200))
        #expect(after.prefix(20).contains { hard[$0] > 150 })
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

    // MARK: - priority

    private func drawn(
        _ columns: [(String, [Double])], params: JSONObject = JSONObject(), length: Int = 4000
    ) throws -> [Double] {
        let rows = columns[0].1.count
        var request =
            Workbench.request(
                rows: rows, params: params, columns: columns.map { ($0.0, [rows], $0.1) },
                more: ["length": JSON(length), "seed": 3]
            ).object ?? JSONObject()
        request["grad"] = nil
        return try Workbench.eval("priority", .object(request)).at("order").cells
    }

    fileprivate static let shares: [(JSONObject, [Double])] = [
        (JSONObject(), [0, 0.25, 0.75, 0]), (["sampling": "random"], [0, 0.5, 0.5, 0]),
        (["power": 2], [0, 0.1, 0.9, 0]), (["column": "rewards"], [0.5, 0.25, 0.25, 0]),
    ]

    /// Rows come in proportion to their weight: 4000 draws, shares within five standard deviations.
    @Test(arguments: DataSamplerTests.shares) func priorityDrawsInProportion(
        _ params: JSONObject, _ shares: [Double]
    ) throws {
        let order = try drawn(
            [("advantages", [-1, 1, 3, 0]), ("rewards", [2, 1, 1, 0])], params: params)
        for (row, share) in shares.enumerated() {
            let count = Double(order.count { Int($0) == row })
            let deviation = (4000 * share * (1 - share)).squareRoot()
            #expect(abs(count - 4000 * share) <= 5 * deviation, "row \(row): \(count)")
        }
    }

    @Test func priorityTakesRewardsWhereThereIsNoAdvantage() throws {
        #expect(Set(try drawn([("rewards", [0, 0.5, 0])])) == [1])
    }

    @Test(arguments: [
        ([0.0, -1], "none of the 2 rows has a weight above 0"),
        ([1, .nan], "row 1 has nan in \"rewards\""),
    ]) func priorityRefuses(_ rewards: [Double], _ text: String) throws {
        let error = #expect(throws: (any Error).self) { try drawn([("rewards", rewards)]) }
        #expect("\(try #require(error))".contains(text))
    }
}
