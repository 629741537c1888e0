import KeelCore
import KeelTensor

/// Sequences laid end to end without padding, and which of their tokens are scored.
package struct PackedBatch: Sendable {
    /// All tokens, `[rows]`.
    package var ids: [Int32]
    /// `[rows]`: distance from the start of the token's own sequence.
    package var positions: [Int32]
    /// Who sees whom.
    package var layout: AttentionLayout
    /// `[n]`: the row whose state predicts target number i.
    package var scored: [Int32]
    /// `[n]`: the ids to be predicted.
    package var targets: [Int32]
    /// `[rows]`: what names a token whatever batch it is in, for the draws of dropout; nil = no dropout.
    package var dropoutKeys: [UInt64]?

    package init(
        ids: [Int32], positions: [Int32], layout: AttentionLayout, scored: [Int32], targets: [Int32]
    ) {
        precondition(
            ids.count == positions.count && scored.count == targets.count,
            "\(ids.count) ids, \(positions.count) positions; \(scored.count) scored, \(targets.count) targets"
        )
        self.ids = ids
        self.positions = positions
        self.layout = layout
        self.scored = scored
        self.targets = targets
    }

    /// The same from plain arrays.
    ///
    /// - Parameter spans: rows that see the same keys: all of the earlier ranges, the last one causally.
    package init(
        ids: [Int32], positions: [Int32], spans: [(queries: Range<Int>, keys: [Range<Int>])],
        scored: [Int32], targets: [Int32]
    ) {
        self.init(
            ids: ids, positions: positions,
            layout: AttentionLayout(spans: spans.map { .init(queries: $0.queries, keys: $0.keys) }),
            scored: scored, targets: targets)
    }

    /// Whole sequences side by side; of each, the targets from `promptLengths` on are scored.
    ///
    /// - Parameter promptLengths: at least 1 is used: nothing predicts the first id.
    package init(sequences: [[Int32]], promptLengths: [Int]) {
        precondition(
            sequences.count == promptLengths.count, "\(promptLengths.count) prompt lengths")
        var ids: [Int32] = []
        var positions: [Int32] = []
        var spans: [(queries: Range<Int>, keys: [Range<Int>])] = []
        var scored: [Int32] = []
        var targets: [Int32] = []
        for (sequence, length) in zip(sequences, promptLengths) {
            let start = ids.count
            ids += sequence
            positions += (0..<Int32(sequence.count))
            if !sequence.isEmpty { spans.append((start..<ids.count, [start..<ids.count])) }
            for t in max(1, length)..<max(1, length, sequence.count) {
                scored.append(Int32(start + t - 1))
                targets.append(sequence[t])
            }
        }
        self.init(ids: ids, positions: positions, spans: spans, scored: scored, targets: targets)
    }
}

/// What a pass over a batch is to give.
package struct Wanted: Sendable {
    /// log p(target); without it there is no entropy and no accuracy either.
    package var logprobs = true
    /// Of each distribution.
    package var entropy = false
    /// The mean log-probability over the vocabulary.
    package var vocabLogprobs = false
    /// Whether the target was the likeliest token.
    package var correct = false
    /// The states that predict the targets.
    package var targetStates = false
    /// Further rows whose states are wanted.
    package var rows: [Int32] = []

    /// Log-probs alone.
    package init() {}
}

/// What a pass over a batch gave; tensors are differentiable where the tape records.
package struct Scores {
    /// `[n]` f32 (f64 under f64): log p(target); empty when not asked for.
    package var logprobs: Tensor
    /// `[n]` in nats, when asked for.
    package var entropy: Tensor?
    /// `[n]`: Σ_v log p(v) / V, when asked for.
    package var vocabLogprobs: Tensor?
    /// Whether the target was the likeliest token, when asked for.
    package var correct: [Bool]?
    /// `[n, hidden]` after the final norm: what the LM head reads to predict each target, when asked for.
    package var targetStates: Tensor?
    /// `[rows, hidden]`: the states of the further rows, when asked for.
    package var rowStates: Tensor?

    init(logprobs: Tensor, entropy: Tensor?) {
        self.logprobs = logprobs
        self.entropy = entropy
    }
}
