import KeelData
import KeelModel
import KeelTensor

/// Log-probabilities of completions under a model, packed without padding.
struct SequenceScorer {
    let model: Model
    /// Divides the logits; the same for policy, reference and sampling (decision 9).
    let temperature: Double

    /// Without gradient: `[completion][token]`.
    func logprobs(_ rows: some Sequence<TokenizedRow>) throws -> [[Float]] {
        let packing = Packing(rows)
        let scores = try model.logprobs(
            PackedBatch(packing), tape: Tape(recording: false), temperature: temperature)
        let flat = scores.logprobs.floats()
        return packing.completions.map { Array(flat[$0]) }
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
