import KeelCore
import Testing

@testable import KeelHost

@Suite struct RewardCompositionTests {
    private let parts = [
        RewardComposition.Part(name: "a", weight: 2, clip: nil),
        RewardComposition.Part(name: "b", weight: -1, clip: -1...1),
    ]

    @Test func theSumLeavesOutWhatDoesNotApply() throws {
        let sum = try RewardComposition(parts: parts, missing: .stop).combine([
            [1, .nan, 3], [5, 0.5, .nan],
        ])
        #expect(sum.rewards == [2 * 1 - 1, -0.5, 6])
        #expect(sum.unanswered.isEmpty)
    }

    @Test func anUnansweredRowIsTreatedAsTold() throws {
        let scores: [[Double]] = [[1, .nan], [0, .nan]]
        #expect(throws: KeelError.self) {
            try RewardComposition(parts: parts, missing: .stop).combine(scores)
        }
        let dropped = try RewardComposition(parts: parts, missing: .dropRow).combine(scores)
        #expect(dropped.rewards[0] == 2 && dropped.rewards[1].isNaN && dropped.unanswered == [1])
        #expect(
            try RewardComposition(parts: parts, missing: .constant(-3)).combine(scores).rewards == [
                2, -3,
            ])
    }

    @Test func infinitiesAreRefusedByName() {
        #expect {
            try RewardComposition(parts: parts, missing: .stop).combine([[0], [.infinity]])
        } throws: { error in
            (error as? KeelError)?.what.contains("\"b\"") == true
                && (error as? KeelError)?.code == .stopped
        }
    }
}
