import Testing

@testable import KeelHost

@Suite struct TokenRewardsTests {
    /// What is not in the sum of a row gives its tokens nothing either.
    @Test func aRewardCountsWhereItsScoreDoes() throws {
        var composition = RewardComposition(
            parts: [.init(name: "safety", weight: 2), .init(name: "help", weight: 0.5)],
            missing: .stop)
        composition.gate = .init(part: 0, threshold: 0)
        // Row 0: the gate decides; row 1: the other; row 2: only help applies.
        let result = try composition.combine([[-1, 1, .nan], [4, 4, 4]])
        #expect(result.shares == [[2, 0, 0], [0, 0.5, 0.5]])
        let sums = TokenRewards.sum(
            [[[1, 2], [3], [5]], [[10, 20], [30], [50]]], shares: result.shares)
        #expect(sums == [[2, 4], [15], [25]])
    }

    @Test func noneGivesNone() {
        #expect(TokenRewards.sum([nil, nil], shares: [[1], [1]]) == nil)
        #expect(TokenRewards.sum([nil, [[1, 1]]], shares: [[1], [3]]) == [[3, 3]])
    }
}
