import Glibc
import KeelBridge
import KeelCore
import KeelTestSupport
import Testing

@testable import KeelHost

@Suite struct RewardCompositionTests {
    private let parts = [
        RewardComposition.Part(name: "a", weight: 2),
        RewardComposition.Part(name: "b", weight: -1, clip: -1...1),
    ]

    private func sum(_ missing: RewardComposition.Missing = .stop) -> RewardComposition {
        RewardComposition(parts: parts, missing: missing)
    }

    @Test func theSumLeavesOutWhatDoesNotApply() throws {
        var composition = sum()
        let result = try composition.combine([[1, .nan, 3], [5, 0.5, .nan]])
        #expect(result.rewards == [2 * 1 - 1, -0.5, 6])
        #expect(result.unanswered.isEmpty && result.gated.isEmpty)
        // Raw 5, used 1, weighted -1.
        #expect(result.used[1][0] == 1 && result.weighted[1][0] == -1)
        #expect(result.used[0][1].isNaN && result.weighted[0][1].isNaN)
    }

    @Test func anUnansweredRowIsTreatedAsTold() throws {
        let scores: [[Double]] = [[1, .nan], [0, .nan]]
        #expect(throws: KeelError.self) {
            var composition = sum()
            _ = try composition.combine(scores)
        }
        var dropping = sum(.dropRow)
        let dropped = try dropping.combine(scores)
        #expect(dropped.rewards[0] == 2 && dropped.rewards[1].isNaN && dropped.unanswered == [1])
        var filling = sum(.constant(-3))
        #expect(try filling.combine(scores).rewards == [2, -3])
    }

    @Test func aRowWhoseScoringFailedIsDroppedWhateverElseAnswers() throws {
        var failed = RewardComposition.Row()
        failed.isDropped = true
        var composition = sum()
        let result = try composition.combine([[1, 1], [.nan, 0]], rows: [failed, .init()])
        #expect(result.rewards[0].isNaN && result.rewards[1] == 2 && result.unanswered.isEmpty)
    }

    @Test func infinitiesAreRefusedByName() {
        #expect {
            var composition = sum()
            _ = try composition.combine([[0], [.infinity]])
        } throws: { error in
            (error as? KeelError)?.what.contains("\"b\"") == true
                && (error as? KeelError)?.code == .stopped
        }
    }

    // MARK: - Normalisation

    /// 1, 3 (mean 2, std sqrt 2), then 8: mean 4, variance of 1, 3, 8 = 13.
    @Test(
        arguments: [
            (.scale, [[1 / 2.0.squareRoot(), 3 / 2.0.squareRoot()], [8 / 13.0.squareRoot()]]),
            (
                .normalize,
                [[-1 / 2.0.squareRoot(), 1 / 2.0.squareRoot()], [4 / 13.0.squareRoot()]]
            ),
            (.none, [[1, 3], [8]]),
        ] as [(RewardComposition.Normalization, [[Double]])])
    func scoresAreNormalisedByAllThatWereSeen(
        _ how: RewardComposition.Normalization, _ want: [[Double]]
    ) throws {
        var composition = RewardComposition(
            parts: [.init(name: "a", weight: 1, normalization: how)], missing: .dropRow)
        expectClose(
            try composition.combine([[1, 3]]).rewards, want[0],
            .init(relative: 1e-12, absolute: 1e-12))
        // NaN and failed rows are no part of the moments.
        var failed = RewardComposition.Row()
        failed.isDropped = true
        let rows = [RewardComposition.Row(), .init(), failed]
        let second = try composition.combine([[8, .nan, 100]], rows: rows)
        expectClose([second.rewards[0]], want[1], .init(relative: 1e-12, absolute: 1e-12))
        #expect(second.rewards[1].isNaN && second.rewards[2].isNaN)
        // Evaluation neither uses nor changes them.
        let state = composition.state
        #expect(try composition.combine([[5]], purpose: .evaluation).rewards == [5])
        #expect(composition.state == state && (state == nil) == (how == .none))
        // A baseline uses them and does not change them: the score that was seen last has its normalised value.
        let baseline = try composition.combine([[8]], purpose: .baseline).rewards
        expectClose(baseline, want[1], .init(relative: 1e-12, absolute: 1e-12))
        #expect(composition.state == state)
    }

    /// Clip comes after the normalisation; the first lone score has std 1.
    @Test func clipsWhatWasNormalised() throws {
        let part = RewardComposition.Part(
            name: "a", weight: 10, clip: -0.5...0.5, normalization: .normalize)
        var composition = RewardComposition(parts: [part], missing: .stop)
        #expect(try composition.combine([[7]]).rewards == [0])
        #expect(try composition.combine([[70]]).rewards == [5])
    }

    @Test func aCheckpointHoldsTheMomentsToTheBit() throws {
        let part = RewardComposition.Part(name: "a", weight: 1, normalization: .normalize)
        var composition = RewardComposition(parts: [part], missing: .stop)
        _ = try composition.combine([[0.1, 0.7, 1 / 3.0]])
        let text = try #require(composition.state).text()
        var resumed = RewardComposition(parts: [part], missing: .stop)
        resumed.restore(try JSON.parse(text, name: "state"))
        #expect(resumed.moments == composition.moments)
        #expect(
            try resumed.combine([[0.2, 5]]).rewards == composition.combine([[0.2, 5]]).rewards)
    }

    @Test(arguments: ["null", "[]", "[[0, 1]]", "[[0, 1, -1]]", "[1, 2, 3]", "[[\"a\", 1, 1]]"])
    func aStrangeStateChangesNothing(_ text: String) throws {
        let part = RewardComposition.Part(name: "a", weight: 1, normalization: .scale)
        var composition = RewardComposition(parts: [part], missing: .stop)
        composition.restore(try JSON.parse(text, name: "state"))
        #expect(composition.moments == [RunningMoments()])
    }

    // MARK: - The gate

    private func gated(_ transform: RewardComposition.Transform = .none) -> RewardComposition {
        var composition = RewardComposition(
            parts: [
                .init(name: "safety", weight: 1), .init(name: "help", weight: 1),
                .init(name: "style", weight: 0.5),
            ], missing: .dropRow, gate: .init(part: 0, threshold: 0.15))
        composition.transform = transform
        return composition
    }

    @Test func safetyBelowTheThresholdTakesOver() throws {
        var composition = gated()
        var tagged = RewardComposition.Row()
        tagged.isTagged = true
        let rows = [RewardComposition.Row(), .init(), tagged, .init(), .init()]
        let result = try composition.combine(
            [[0.1, 0.15, 0.9, .nan, 0.5], [0.8, 0.8, 0.8, 0.8, .nan], [1, 1, 1, .nan, .nan]],
            rows: rows)
        // Strictly below; a tag; no safety score; nothing but a safety score.
        #expect(result.rewards == [0.1, 1.3, 0.9, 0.8, 0.5])
        #expect(result.gated == [0, 2, 4])
        #expect(result.weighted[1][0] == 0 && result.weighted[0][1] == 0)
    }

    /// logit(0.1), logit(0.5), logit(0.9): mean 0, biased variance 2 l^2 / 3.
    @Test func theLogitIsWhitenedInTrainingOnly() throws {
        let scores: [[Double]] = [[0.1, 0.5, 0.9, .nan], [0.1, 0.5, 0.9, .nan], [0, 0, 0, .nan]]
        var composition = gated(.logitWhiten)
        let l = log(0.9 / 0.1)
        let one = l / (2 * l * l / 3 + 1e-8).squareRoot()
        let result = try composition.combine(scores)
        expectClose(
            Array(result.rewards.prefix(3)), [-one, 0, one], .init(relative: 1e-12, absolute: 1e-12)
        )
        #expect(result.rewards[3].isNaN)
        var plain = gated(.logit)
        expectClose(
            Array(try plain.combine(scores).rewards.prefix(3)), [-l, 0, l],
            .init(relative: 1e-12, absolute: 1e-12))
        #expect(
            try Array(composition.combine(scores, purpose: .evaluation).rewards.prefix(3)) == [
                0.1, 0.5, 0.9,
            ])
    }

    @Test func theLogitTakesProbabilitiesOnly() throws {
        let error = try #require(throws: KeelError.self) {
            var composition = gated(.logit)
            _ = try composition.combine([[0.5], [1.5], [0]])
        }
        #expect(
            error.description.contains(
                "the combined reward is 1.5, which is no probability to take the logit of"))
        #expect(error.code == .stopped)
    }

    // MARK: - Groups

    /// Two prompts of three completions.
    ///
    /// In the first, a = 0, 1, 2 and b is the same for all; in the second a is the same
    /// and b = 0, 3, none: normalised -1, 0, 1 (by 1 + 1e-4) and ∓1/√2, b weighed by -1. Then over the batch.
    @Test func scoresAreNormalisedInTheirGroupsThenSummed() throws {
        var composition = sum()
        composition.parts[1].clip = nil
        composition.isGroupNormalized = true
        let rows = [0, 0, 0, 1, 1, 1].map { (group: Int32) in
            var row = RewardComposition.Row()
            row.group = group
            return row
        }
        let scores: [[Double]] = [[0, 1, 2, 9, 9, 9], [4, 4, 4, 0, 3, .nan]]
        let result = try composition.combine(scores, rows: rows)
        let a = 2 / (1 + 1e-4)
        let b = 1.5 / (4.5.squareRoot() + 1e-4)
        let sums = [-a, 0, a, b, -b, 0]
        let std = (sums.reduce(0) { $0 + $1 * $1 } / 5).squareRoot()
        expectClose(
            result.rewards, sums.map { $0 / (std + 1e-4) }, .init(relative: 1e-12, absolute: 1e-12))
        // What is logged and what dynamic sampling looks at are the plain terms.
        #expect(result.weighted[0] == [0, 2, 4, 18, 18, 18] && result.weighted[1][4] == -3)
        // Evaluation has one answer to a prompt: the weighted sum.
        #expect(
            try composition.combine(scores, rows: rows, purpose: .evaluation).rewards == [
                -4, -2, 0, 18, 15, 18,
            ])
    }

    @Test func rowsWithoutAnAnswerAreInNoGroup() throws {
        var composition = sum(.constant(-3))
        composition.isGroupNormalized = true
        var failed = RewardComposition.Row()
        failed.isDropped = true
        let rows = [RewardComposition.Row(), .init(), .init(), failed]
        let result = try composition.combine(
            [[1, 2, .nan, 100], [.nan, .nan, .nan, 1]], rows: rows)
        #expect(result.rewards[0] == -result.rewards[1] && result.rewards[1] > 0.7)
        #expect(result.rewards[2] == -3 && result.rewards[3].isNaN)
    }

    @Test func aLoneCompletionHasNothingToBeComparedWith() throws {
        var composition = sum()
        composition.isGroupNormalized = true
        let rows = [0, 1, 2].map { (group: Int32) in
            var row = RewardComposition.Row()
            row.group = group
            return row
        }
        let error = #expect(throws: KeelError.self) {
            try composition.combine([[1, 2, 3], [0, 0, 0]], rows: rows)
        }
        #expect(
            "\(try #require(error))".contains(
                "combine.rule \"normalize_then_sum\" compares the completions of a prompt, but every prompt has one"
            ))
    }

    // MARK: - Length

    /// 100 tokens at most, a cache of 20: nothing up to 80, half at 90, all at 100 and beyond.
    @Test func longCompletionsCost() throws {
        var composition = sum()
        composition.shaping.overlong = (100, 20, 2)
        let lengths = [1, 80, 90, 100, 160]
        let rows = lengths.map { length in
            var row = RewardComposition.Row()
            row.length = length
            return row
        }
        let one = lengths.map { _ in 1.0 }
        let rewards = try composition.combine([one, one.map { _ in 0 }], rows: rows).rewards
        #expect(rewards == [2, 2, 1, 0, 0])
    }

    @Test func cutCompletionsCost() throws {
        var composition = sum()
        composition.shaping.missingEOSPenalty = 1.5
        var cut = RewardComposition.Row()
        cut.isFinished = false
        #expect(
            try composition.combine([[1, 1], [0, 0]], rows: [cut, .init()]).rewards == [0.5, 2])
    }

    @Test(arguments: [(0.5, 1.0), (0, 0), (1, 2), (-3, -3)])
    func cutCompletionsAreScaledOrReplaced(_ coef: Double, _ want: Double) throws {
        var composition = sum()
        composition.shaping.stopProperly = coef
        var cut = RewardComposition.Row()
        cut.isFinished = false
        #expect(
            try composition.combine([[1, 1], [0, 0]], rows: [cut, .init()]).rewards == [want, 2])
    }
}
