import KeelBridge
import KeelCore
import Testing

struct ModelRewardTests {
    private func scores(_ params: JSON, _ column: [Double?]) throws -> [Double] {
        let reward = try Workbench.reward("model", params)
        try reward.submit(
            column.enumerated().map {
                RewardRow(id: UInt64($0.offset), prompt: [], response: [], modelScore: $0.element)
            }, context: CallContext())
        return try reward.collect().map { Double($0.value) }
    }

    @Test(
        arguments: [
            ([:], [1.5, -2]), (["scale": 2, "offset": 1], [4, -3]),
            (["sigmoid": true], [0.8175744761936437, 0.11920292202211755]),
            (["scale": 10, "clip": [-5, 5]], [5, -5]),
            (["sigmoid": true, "clip": [0.2, 0.7]], [0.7, 0.2]),
        ] as [(JSON, [Double])])
    func scoresOfTheModel(_ params: JSON, _ want: [Double]) throws {
        expectClose(try scores(params, [1.5, -2]), want, rtol: 1e-6, atol: 0, "scores")
    }

    @Test func extremesAndRowsWithoutAScore() throws {
        #expect(try scores(["sigmoid": true], [800, -800]) == [1, 0])
        let got = try scores([:], [1, nil])
        #expect(got[0] == 1 && got[1].isNaN)
    }

    @Test func needsTheColumn() throws {
        let error = try #require(throws: KeelError.self) { try scores([:], [nil]) }
        #expect(error.what.contains("the column \"model_scores\" is not there"))
        #expect(
            try Workbench.refusal("model", ["clip": [2, 1]])
                == "reward \"model\": clip takes two numbers, the lower first, or [] for none")
    }
}
