import KeelBridge
import KeelCore
import OrderedCollections

/// Goes on drawing prompts until a rollout has enough groups that are worth a step.
///
/// Yu et al. 2025 (DAPO, arXiv:2503.14476), section 3.2: a group whose completions all have the same score has
/// no advantage, and gives no gradient. It is left out, and another prompt takes its place.
struct DynamicSampling {
    /// Batches of prompts drawn for one rollout at most.
    ///
    /// When they are used up, the rollout is what there is: the accepted groups, or, if there are none, those of the
    /// first batch.
    var maxBatches: Int
    /// The reward whose raw scores decide; nil = the weighted sum of all, before it is transformed and shaped by length.
    var metric: String?
    /// Says whether a group is kept, by the scores of its completions (those of dropped rows left out).
    var accepts: ([Double]) -> Bool = DynamicSampling.differ

    /// Not all scores are equal.
    static func differ(_ scores: [Double]) -> Bool {
        scores.contains { $0 != scores[0] }
    }

    /// Some scores are inside a range, and their mean is strictly (OpenRLHF's rule).
    static func meanWithin(_ low: Double, _ high: Double) -> ([Double]) -> Bool {
        { scores in
            let mean = Statistics.mean(scores)
            return !scores.isEmpty && mean > low && mean < high
        }
    }

    /// The scores of each row that decide.
    ///
    /// - Throws: `KeelError` (config) for a reward that the run does not have.
    func scores(_ scored: RewardSet.Scored) throws -> [Double] {
        guard let metric else {
            return scored.rewards.indices.map { row in
                let terms = scored.weighted.map { $0[row] }.filter { !$0.isNaN }
                return terms.isEmpty || scored.rewards[row].isNaN ? .nan : terms.reduce(0, +)
            }
        }
        guard let place = scored.names.firstIndex(of: metric) else {
            throw KeelError(
                "config",
                "dynamic sampling looks at the reward \"\(metric)\", which the run does not have",
                fix: "use one of: \(scored.names.joined(separator: ", "))", code: .config)
        }
        return scored.scores[place]
    }

    /// The groups that are kept, in order.
    ///
    /// - Throws: as `scores`.
    func accepted(_ scored: RewardSet.Scored, groupSize: Int) throws -> [Int] {
        let scores = try scores(scored)
        return (0..<scores.count / groupSize).filter { group in
            accepts(scores[group * groupSize..<(group + 1) * groupSize].filter { !$0.isNaN })
        }
    }
}

extension RolloutMaker {
    /// A rollout of groups that are worth a step.
    ///
    /// Batches are drawn one after the other and each is judged as a whole, so the accepted groups, their order and their
    /// texts do not depend on how generation went. The reference is computed for accepted groups only.
    ///
    /// - Parameters:
    ///   - wanted: groups of the rollout; what a batch accepts beyond it is let go.
    ///   - draw: the prompts of batch 0, 1, ... and the stream of its draws.
    /// - Returns: the rollout, its samples, its prompts (one a group), and how many batches were drawn.
    /// - Throws: as `make`.
    func make(
        _ wanted: Int, choosing rule: DynamicSampling,
        from draw: (Int) throws -> (prompts: [Prompt], stream: UInt64), place: String,
        context: CallContext
    ) throws -> (rollout: Rollout, samples: [JSONObject], prompts: [Prompt], batches: Int) {
        precondition(
            wanted > 0 && rule.maxBatches > 0, "\(wanted) groups of \(rule.maxBatches) batches")
        var kept: Drawn?
        var spare: Drawn?
        var count = 0
        var seen = 0
        var batches = 0
        while count < wanted, batches < rule.maxBatches {
            let (prompts, stream) = try draw(batches)
            batches += 1
            let drawn = try self.draw(
                prompts, stream: stream, place: place, purpose: .training, context: context)
            seen += prompts.count
            let good = try rule.accepted(drawn.scored, groupSize: samplesPerPrompt)
            let chosen = good.prefix(wanted - count)
            if spare == nil {
                spare = drawn.keeping(Array(0..<min(wanted, prompts.count)), samplesPerPrompt)
            }
            count += good.count
            let part = drawn.keeping(Array(chosen), samplesPerPrompt)
            kept = kept.map { $0.appending(part) } ?? part
        }
        guard var chosen = kept, var first = spare else { preconditionFailure("nothing was drawn") }
        if chosen.samples.isEmpty {
            (first.generating, first.waiting) = (chosen.generating, chosen.waiting)
            chosen = first
        }
        var rollout = rollout(chosen, try refLogprobs(chosen.samples))
        rollout.metrics["dynamic_sampling/batches"] = Double(batches)
        rollout.metrics["dynamic_sampling/filtered_frac"] =
            1 - Double(count) / Double(max(1, seen))
        rollout.metrics["dynamic_sampling/groups"] = Double(min(count, wanted))
        let prompts = stride(from: 0, to: chosen.samples.count, by: samplesPerPrompt).map {
            chosen.samples[$0].prompt
        }
        return (rollout, lines(chosen), prompts, batches)
    }
}

extension Drawn {
    /// Some of the groups; what drawing them all took stays.
    func keeping(_ groups: [Int], _ groupSize: Int) -> Drawn {
        let rows = groups.flatMap { $0 * groupSize..<($0 + 1) * groupSize }
        var new = self
        new.samples = rows.map { samples[$0] }
        new.scored = scored.keeping(rows)
        return new
    }

    func appending(_ other: Drawn) -> Drawn {
        Drawn(
            samples: samples + other.samples, scored: scored.appending(other.scored),
            generating: generating + other.generating, waiting: waiting + other.waiting)
    }
}

extension RewardSet.Scored {
    /// Some of the rows; what the rewards reported of all of them stays.
    func keeping(_ rows: [Int]) -> RewardSet.Scored {
        func chosen(_ columns: [[Double]]) -> [[Double]] { columns.map { c in rows.map { c[$0] } } }
        var new = self
        new.scores = chosen(scores)
        new.rewards = rows.map { rewards[$0] }
        new.used = chosen(used)
        new.weighted = chosen(weighted)
        new.tokenRewards = tokenRewards.map { all in rows.map { all[$0] } }
        return new
    }

    func appending(_ other: RewardSet.Scored) -> RewardSet.Scored {
        func joined(_ a: [[Double]], _ b: [[Double]]) -> [[Double]] { zip(a, b).map { $0 + $1 } }
        var new = self
        new.scores = joined(scores, other.scores)
        new.rewards += other.rewards
        new.used = joined(used, other.used)
        new.weighted = joined(weighted, other.weighted)
        if let own = tokenRewards, let theirs = other.tokenRewards {
            new.tokenRewards = own + theirs
        }
        new.milliseconds = joined(milliseconds, other.milliseconds)
        if let own = gatedShare, let theirs = other.gatedShare {
            let (a, b) = (
                Double(milliseconds.first?.count ?? 0), Double(other.milliseconds.first?.count ?? 0)
            )
            new.gatedShare = (own * a + theirs * b) / max(1, a + b)
        }
        new.reported.merge(other.reported)
        for (i, report) in other.reports.enumerated() { new.reports[i].merge(report) }
        return new
    }
}
