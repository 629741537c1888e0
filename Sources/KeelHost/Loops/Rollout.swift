import KeelBridge
import KeelCore
import KeelData
import KeelModel
import OrderedCollections

/// Sampled completions with all that an update needs of them.
///
/// Constants of the update.
struct Rollout {
    /// One per completion; groups of one prompt stand together.
    var rows: [TokenizedRow]
    var group: [Int32]
    var oldLogprobs: [[Double]]
    var behaviorLogprobs: [[Double]]
    var refLogprobs: [[Double]]?
    var rewards: [Double]
    /// Of single tokens, beside `rewards`; nil when no reward plugin gives any.
    var tokenRewards: [[Double]]?
    /// Ended with an end-of-text token.
    var isFinished: [Bool]
    var metrics: OrderedDictionary<String, Double>

    /// The columns of abi.md 2.5 for data kind `rollouts`.
    func columns() -> ColumnBatch {
        var batch = ColumnBatch.tokens(of: rows, prefixes: [""])
        batch.addTokenColumn("old_logprobs", oldLogprobs, prefixes: [""])
        batch.addTokenColumn("behavior_logprobs", behaviorLogprobs, prefixes: [""])
        if let refLogprobs { batch.addTokenColumn("ref_logprobs", refLogprobs, prefixes: [""]) }
        if let tokenRewards {
            batch.addTokenColumn(TokenRewards.column, tokenRewards, prefixes: [""])
        }
        // A dropped row keeps its NaN: it has no part in the baseline of its group, and no weight.
        batch.columns["rewards"] = Column(rewards)
        batch.columns["weight"] = Column(rewards.map { $0.isNaN ? 0 : 1 })
        batch.columns["group"] = Column(ints: group)
        batch.columns["finished"] = Column(isFinished.map { $0 ? 1 : 0 })
        return batch
    }
}

/// Completions with their scores, groups of one prompt side by side.
struct Drawn {
    var samples: [Sample]
    var scored: RewardSet.Scored
    /// Seconds of generation.
    var generating: Double
    /// Seconds that scores were waited for after the last token.
    var waiting: Double
}

extension Sample {
    /// Its ids as an update takes them.
    var row: TokenizedRow {
        TokenizedRow(index: prompt.row, prompt: prompt.tokens, completions: [tokens])
    }
}

/// Generate, score, remember: from prompts to a rollout.
struct RolloutMaker {
    var sampling: Sampling
    let rewards: RewardSet
    let reference: ReferenceLogprobs?
    var samplesPerPrompt: Int
    var trace: Trace?

    /// The reward of the likeliest response to each prompt, once for every sample of it (ReMax's baseline).
    func greedyRewards(
        _ prompts: [Prompt], stream: UInt64, place: String, context: CallContext
    ) throws -> [Double] {
        var greedy = RolloutMaker(
            sampling: sampling, rewards: rewards, reference: nil, samplesPerPrompt: 1)
        greedy.sampling.isGreedy = true
        let made = try greedy.make(
            prompts, stream: stream, place: place, purpose: .baseline, context: context)
        return made.rollout.rewards.flatMap { reward in
            repeatElement(reward.isNaN ? 0 : reward, count: samplesPerPrompt)
        }
    }

    private func measured<T>(_ name: String, _ work: () throws -> T) rethrows -> T {
        guard let trace else { return try work() }
        return try trace.measure(name, lane: "run", work)
    }

    /// A rollout, and its samples with their scores for `samples.jsonl`.
    func make(
        _ prompts: [Prompt], stream: UInt64, place: String,
        purpose: RewardComposition.Purpose, context: CallContext
    ) throws -> (rollout: Rollout, samples: [JSONObject]) {
        // While the last rewards are at work, the reference is.
        var ref: [[Double]]?
        let drawn = try draw(
            prompts, stream: stream, place: place, purpose: purpose, context: context,
            meanwhile: { ref = try refLogprobs($0) })
        return (rollout(drawn, ref), lines(drawn))
    }

    /// Completions and their scores.
    ///
    /// - Parameter meanwhile: done once the completions are there, before the last scores are waited for.
    func draw(
        _ prompts: [Prompt], stream: UInt64, place: String,
        purpose: RewardComposition.Purpose, context: CallContext,
        meanwhile: ([Sample]) throws -> Void = { _ in }
    ) throws -> Drawn {
        let begin = Clock.now()
        let scoring = Scoring(
            rewards, count: prompts.count * samplesPerPrompt, groupSize: samplesPerPrompt,
            purpose: purpose, context: context, trace: trace)
        let samples = try sampling.generate(
            prompts, samplesPerPrompt: samplesPerPrompt, stream: stream, place: place,
            finished: { scoring.add($0, $1) }, between: { try scoring.flush() })
        let generated = Clock.now()
        trace?.span("generate", lane: "run", from: begin, to: generated)
        try scoring.flush()
        try meanwhile(samples)
        let scored = try measured("wait for scores") { try scoring.finish() }
        rewards.tellSlowRows(scored)
        return Drawn(
            samples: samples, scored: scored, generating: generated - begin,
            waiting: scoring.waited)
    }

    /// Under the reference, where the objective wants it.
    func refLogprobs(_ samples: [Sample]) throws -> [[Double]]? {
        try reference.map { reference in
            try measured("reference") {
                try reference.logprobsOnce(samples.map(\.row)).map { $0.map(Double.init) }
            }
        }
    }

    /// Groups of `samplesPerPrompt` as an update takes them.
    func rollout(_ drawn: Drawn, _ ref: [[Double]]?) -> Rollout {
        let samples = drawn.samples
        let group = samples.indices.map { Int32($0 / samplesPerPrompt) }
        var metrics = drawn.scored.metrics(group: group)
        metrics["perf/generate_s"] = drawn.generating
        metrics["perf/score_wait_s"] = drawn.waiting
        for (name, value) in lengthMetrics(samples) { metrics[name] = value }
        // Each has draws of its own where an adapter drops cells.
        var rows = samples.map(\.row)
        for i in rows.indices { rows[i].sibling = i % samplesPerPrompt }
        return Rollout(
            rows: rows, group: group,
            oldLogprobs: samples.map { $0.logprobs.map(Double.init) },
            behaviorLogprobs: samples.map { $0.behaviorLogprobs.map(Double.init) },
            refLogprobs: ref, rewards: drawn.scored.rewards,
            tokenRewards: drawn.scored.tokenRewards,
            isFinished: samples.map(\.isFinished), metrics: metrics)
    }

    /// The samples with their scores, as `SampleLine.make` takes them.
    func lines(_ drawn: Drawn) -> [JSONObject] {
        let scored = drawn.scored
        return drawn.samples.enumerated().map { i, sample in
            var line: JSONObject = [
                "prompt": .string(sample.promptText), "completion": .string(sample.text),
                "finish_reason": .string(sample.finishReason.rawValue),
            ]
            let cells = { (columns: [[Double]]) in
                JSON.object(
                    JSONObject(pairs: zip(rewards.names, columns).map { ($0, .double($1[i])) }))
            }
            line.append(SampleLine.scores, cells(scored.scores))
            line.append("used", cells(scored.used))
            line.append("weighted", cells(scored.weighted))
            line.append("reward", .double(scored.rewards[i]))
            return line
        }
    }

    /// TRL's `completions/*`.
    private func lengthMetrics(_ samples: [Sample]) -> OrderedDictionary<String, Double> {
        let lengths = samples.map { Double($0.tokens.count) }
        let ended = samples.filter(\.isFinished).map { Double($0.tokens.count) }
        let mean = { (x: [Double]) in x.isEmpty ? 0 : x.reduce(0, +) / Double(x.count) }
        return [
            "completions/mean_length": mean(lengths), "completions/min_length": lengths.min() ?? 0,
            "completions/max_length": lengths.max() ?? 0,
            "completions/mean_terminated_length": mean(ended),
            "completions/min_terminated_length": ended.min() ?? 0,
            "completions/max_terminated_length": ended.max() ?? 0,
            "completions/clipped_ratio": 1 - Double(ended.count) / Double(max(1, samples.count)),
        ]
    }
}
