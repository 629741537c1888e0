import KeelData
import KeelModel
import KeelTensor

/// Log-probabilities of completions under a model, packed without padding.
struct SequenceScorer {
    let model: Model
    /// Divides the logits; the same for policy, reference and sampling (decision 9).
    let temperature: Double

    /// One pass over some rows.
    ///
    /// `[targets]` runs over the completions in order.
    struct Pass {
        let packing: Packing
        /// `[targets]`, tracked when the tape records.
        let logprobs: Tensor
        /// `[targets]`: of the full next-token distribution, in nats.
        let entropy: [Float]
        /// `[targets]`: whether the target is the most probable token.
        let correct: [Bool]

        /// The log-probs of every completion, in the order of rows and sides.
        func perCompletion() -> [[Float]] {
            SequenceScorer.split(logprobs, packing)
        }
    }

    private static func split(_ logprobs: Tensor, _ packing: Packing) -> [[Float]] {
        let flat = logprobs.floats()
        return packing.completions.map { Array(flat[$0]) }
    }

    func pass(_ rows: some Sequence<TokenizedRow>, tape: Tape) throws -> Pass {
        let packing = Packing(rows)
        let scores = try model.logprobs(
            PackedBatch(packing), tape: tape, temperature: temperature, entropy: true, correct: true
        )
        return Pass(
            packing: packing, logprobs: scores.logprobs, entropy: scores.entropy?.floats() ?? [],
            correct: scores.correct ?? [])
    }

    /// The same without gradient: `[completion][token]`.
    func logprobs(_ rows: some Sequence<TokenizedRow>) throws -> [[Float]] {
        let packing = Packing(rows)
        let scores = try model.logprobs(
            PackedBatch(packing), tape: Tape(recording: false), temperature: temperature)
        return SequenceScorer.split(scores.logprobs, packing)
    }
}

extension PackedBatch {
    init(_ packing: Packing) {
        self.init(
            ids: packing.ids, positions: packing.positions,
            spans: packing.spans.map { (queries: $0.queries, keys: $0.keys) },
            scored: packing.scored, targets: packing.targets)
    }
}
