import KeelBridge
import KeelCore
import OrderedCollections

/// Scores the completions of a rollout while others are still being generated.
///
/// A completion is handed to every reward as soon as it is there: alone, or with its whole group where the
/// reward is COUPLED. A reward with state gets its rows in the order of the rollout all the same. The scores
/// come back in that order, whatever the order of the work was.
final class Scoring {
    private let rewards: RewardSet
    private let groupSize: Int
    private let purpose: RewardComposition.Purpose
    private let context: CallContext
    private let trace: Trace?
    private var rows: [RewardRow?]
    private var lanes: [Lane]
    /// Finished since the last `flush`.
    private var fresh: [Int] = []
    /// Seconds that the rollout has waited for scores after its last token.
    private(set) var waited = 0.0

    /// One reward, and what it was given so far.
    private struct Lane {
        let runner: any RewardRunner
        let isCoupled: Bool
        let isOrdered: Bool
        /// Rows in the order in which they were handed over.
        var submitted: [Int] = []
        /// All rows before this one were handed over; kept by ordered lanes.
        var next = 0
    }

    /// - Parameters:
    ///   - count: completions of the rollout, groups of `groupSize` side by side.
    init(
        _ rewards: RewardSet, count: Int, groupSize: Int,
        purpose: RewardComposition.Purpose = .training, context: CallContext, trace: Trace? = nil
    ) {
        self.rewards = rewards
        self.groupSize = groupSize
        self.purpose = purpose
        self.context = context
        self.trace = trace
        rows = [RewardRow?](repeating: nil, count: count)
        lanes = rewards.runners.map { runner in
            Lane(
                runner: runner, isCoupled: runner.component.flags.contains(.coupled),
                isOrdered: runner.component.hasCallback("save"))
        }
    }

    /// A completion is there: number `index` of the rollout.
    func add(_ index: Int, _ sample: Sample) {
        add(index, RewardRow(sample, group: Int32(index / groupSize)))
    }

    func add(_ index: Int, _ row: RewardRow) {
        precondition(rows[index] == nil, "completion \(index) was added twice")
        rows[index] = row
        fresh.append(index)
    }

    /// Hands over what has come since the last time.
    ///
    /// - Throws: `KeelError` when a runner cannot take rows.
    func flush() throws {
        guard !fresh.isEmpty else { return }
        let new = fresh.sorted()
        fresh = []
        for lane in lanes.indices {
            let chosen = ready(&lanes[lane], new)
            guard !chosen.isEmpty else { continue }
            lanes[lane].submitted += chosen
            try lanes[lane].runner.submit(chosen.compactMap { rows[$0] }, context: context)
            trace?.mark(
                "submit \(lanes[lane].runner.name)", lane: "rewards",
                ["rows": .array(chosen.map { JSON($0) })])
        }
    }

    /// What of the new rows a reward can have now.
    private func ready(_ lane: inout Lane, _ new: [Int]) -> [Int] {
        if lane.isOrdered {
            let start = lane.next
            var end = start
            while end < rows.count, rows[end] != nil { end += 1 }
            if lane.isCoupled, end < rows.count { end -= end % groupSize }
            lane.next = max(start, end)
            return Array(start..<lane.next)
        }
        guard lane.isCoupled else { return new }
        let groups = OrderedSet(new.map { $0 / groupSize })
        return groups.flatMap { group -> [Int] in
            let members = group * groupSize..<min(rows.count, (group + 1) * groupSize)
            return members.allSatisfy { rows[$0] != nil } ? Array(members) : []
        }
    }

    /// Waits for the scores of all rows.
    ///
    /// - Throws: as `RewardSet.combine`, or a plugin's own error.
    func finish() throws -> RewardSet.Scored {
        try flush()
        let whole = rows.compactMap { $0 }
        precondition(whole.count == rows.count, "\(whole.count) of \(rows.count) rows are there")
        let begin = Clock.now()
        var answers = [[RewardScore]](repeating: [], count: lanes.count)
        var tokenRewards = [[[Double]]?](repeating: nil, count: lanes.count)
        // What this process has to do itself comes first: the workers are at work meanwhile.
        let (away, here) = lanes.indices.partitioned { lanes[$0].runner is WorkerReward }
        for index in here + away {
            let lane = lanes[index]
            let own = Clock.now()
            let scores = try lane.runner.collect()
            precondition(
                scores.count == rows.count && lane.submitted.count == rows.count,
                "\(scores.count) scores for \(rows.count) rows of \(lane.runner.name)")
            var ordered = scores
            for (score, row) in zip(scores, lane.submitted) { ordered[row] = score }
            answers[index] = ordered
            tokenRewards[index] = try TokenRewards.given(
                by: lane.runner, rows: whole, submitted: lane.submitted)
            trace?.span("wait \(lane.runner.name)", lane: "rewards", from: own, to: Clock.now())
        }
        waited = Clock.now() - begin
        return try rewards.combine(
            answers, tokenRewards: tokenRewards, of: whole, purpose: purpose)
    }
}

extension Sequence {
    /// Those for which a claim holds, and the others, both in order.
    fileprivate func partitioned(by claim: (Element) -> Bool) -> ([Element], [Element]) {
        (filter(claim), filter { !claim($0) })
    }
}

extension RewardRow {
    /// A completion as rewards see it.
    init(_ sample: Sample, group: Int32) {
        self.init(
            id: UInt64(sample.prompt.row), prompt: Array(sample.promptText.utf8),
            response: Array(sample.text.utf8), tokens: sample.tokens,
            promptTokens: sample.prompt.tokens, row: sample.prompt.json, group: group,
            isFinished: sample.isFinished)
    }
}
