import KeelCore
import KeelData
import KeelModel
import KeelTensor

/// Log-probabilities of completions under a model, packed without padding.
struct SequenceScorer {
    let model: Model
    /// Divides the logits; the same for policy, reference and sampling (decision 9).
    let temperature: Double

    /// Tokens of a pass; longer rows go alone.
    static let tokens = 8192

    /// Without gradient: `[completion][token]`, in passes of bounded size.
    func logprobs(_ rows: [TokenizedRow]) throws -> [[Float]] {
        var all: [[Float]] = []
        var start = 0
        while start < rows.count {
            var end = start
            var tokens = 0
            repeat {
                let isShared = end > start && rows[end - 1].prompt == rows[end].prompt
                tokens += rows[end].completions.reduce(isShared ? 0 : rows[end].prompt.count) {
                    $0 + $1.count
                }
                end += 1
            } while end < rows.count && tokens < SequenceScorer.tokens
            all += try pass(rows[start..<end])
            start = end
        }
        return all
    }

    private func pass(_ rows: ArraySlice<TokenizedRow>) throws -> [[Float]] {
        let packing = StageClock.measure(.data) { Packing(rows) }
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
