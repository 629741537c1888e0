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
    /// Ended with an end-of-text token.
    var isFinished: [Bool]
    var metrics: OrderedDictionary<String, Double>

    /// The columns of abi.md 2.5 for data kind `rollouts`.
    func columns() -> ColumnBatch {
        var batch = ColumnBatch.tokens(of: rows, prefixes: [""])
        batch.addTokenColumn("old_logprobs", oldLogprobs, prefixes: [""])
        batch.addTokenColumn("behavior_logprobs", behaviorLogprobs, prefixes: [""])
        if let refLogprobs { batch.addTokenColumn("ref_logprobs", refLogprobs, prefixes: [""]) }
        // A dropped row keeps its NaN: it has no part in the baseline of its group, and no weight.
        batch.columns["rewards"] = Column(rewards)
        batch.columns["weight"] = Column(rewards.map { $0.isNaN ? 0 : 1 })
        batch.columns["group"] = Column(ints: group)
        batch.columns["finished"] = Column(isFinished.map { $0 ? 1 : 0 })
        return batch
    }
}

/// Generate, score, remember: from prompts to a rollout.
struct RolloutMaker {
    let sampling: Sampling
    let rewards: RewardSet
    let reference: ReferenceLogprobs?
    let samplesPerPrompt: Int
    var trace: Trace?

    private func measured<T>(_ name: String, _ work: () throws -> T) rethrows -> T {
        guard let trace else { return try work() }
        return try trace.measure(name, lane: "run", work)
    }

    /// A rollout, and its samples with their scores for `samples.jsonl`.
    func make(
        _ prompts: [Prompt], stream: UInt64, place: String,
        purpose: RewardComposition.Purpose, context: CallContext
    ) throws -> (rollout: Rollout, samples: [JSONObject]) {
        let begin = Clock.now()
        let scoring = Scoring(
            rewards, count: prompts.count * samplesPerPrompt, groupSize: samplesPerPrompt,
            purpose: purpose, context: context, trace: trace)
        let samples = try sampling.generate(
            prompts, samplesPerPrompt: samplesPerPrompt, stream: stream, place: place,
            finished: { scoring.add($0, $1) }, between: { try scoring.flush() })
        let generated = Clock.now()
        trace?.span("generate", lane: "run", from: begin, to: generated)
        let group = samples.indices.map { Int32($0 / samplesPerPrompt) }
        // While the last rewards are at work, the reference is.
        try scoring.flush()
        let rows = samples.map {
            TokenizedRow(index: $0.prompt.row, prompt: $0.prompt.tokens, completions: [$0.tokens])
        }
        let ref = try reference.map { reference in
            try measured("reference") {
                try reference.logprobsOnce(rows).map { $0.map(Double.init) }
            }
        }
        let scored = try measured("wait for scores") { try scoring.finish() }
        rewards.tellSlowRows(scored)
        var metrics = scored.metrics(group: group)
        metrics["perf/generate_s"] = generated - begin
        metrics["perf/score_wait_s"] = scoring.waited
        for (name, value) in lengthMetrics(samples) { metrics[name] = value }
        let rollout = Rollout(
            rows: rows, group: group, oldLogprobs: samples.map { $0.logprobs.map(Double.init) },
            behaviorLogprobs: samples.map { $0.behaviorLogprobs.map(Double.init) },
            refLogprobs: ref,
            rewards: scored.rewards, isFinished: samples.map(\.isFinished), metrics: metrics)
        let lines = samples.indices.map { i in
            var line: JSONObject = [
                "prompt": .string(samples[i].promptText), "completion": .string(samples[i].text),
            ]
            for (name, values) in zip(rewards.names, scored.scores) {
                line.append(name, .double(values[i]))
            }
            let cells = { (columns: [[Double]]) in
                JSON.object(
                    JSONObject(pairs: zip(rewards.names, columns).map { ($0, .double($1[i])) }))
            }
            line.append("used", cells(scored.used))
            line.append("weighted", cells(scored.weighted))
            line.append("reward", .double(scored.rewards[i]))
            return line
        }
        return (rollout, lines)
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
