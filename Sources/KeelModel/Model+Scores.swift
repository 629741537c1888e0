import KeelCore
import KeelTensor

extension Model {
    /// Tokens of a scoring pass; longer rows go alone.
    private static let scoringTokens = 8192

    /// The score head on some states of this model.
    ///
    ///     score_i = w · h_i
    ///
    /// - Parameters:
    ///   - states: `[n, hidden]`, from a pass on `tape`.
    /// - Returns: `[n]`, f32 (f64 under f64) whatever the states are.
    /// - Throws: `KeelError` (badData) for a model without a score head.
    package func score(_ states: Tensor, tape: Tape) throws -> Tensor {
        guard architecture.score != nil, let parameter = scoreParameter else {
            throw KeelError(
                "model", "a language model gives no scores", at: directory,
                fix: "use a reward model: a *ForSequenceClassification folder with one label",
                code: .badData)
        }
        let type = dtype.accumulator
        let weight = parameter.leaf(on: tape).cast(type)
        return NN.linear(states.cast(type), weight: weight).reshaped([states.rows])
    }

    /// The scores of whole sequences, each read at its last token, differentiable where the tape records.
    ///
    /// - Parameter rows: ids of one text each, special tokens included; none empty.
    /// - Returns: `[rows]` f32 (f64 under f64).
    /// - Throws: `KeelError` (badData) for empty rows, ids outside the vocabulary, texts beyond the context,
    ///   and a model without a score head.
    package func scores(_ rows: [[Int32]], tape: Tape) throws -> Tensor {
        if let empty = rows.firstIndex(where: \.isEmpty) {
            throw KeelError(
                "model", "text \(empty) has no tokens to score", at: directory, code: .badData)
        }
        let batch = PackedBatch(sequences: rows, promptLengths: rows.map(\.count))
        var wanted = Wanted()
        wanted.logprobs = false
        var end: Int32 = 0
        for row in rows {
            end += Int32(row.count)
            wanted.rows.append(end - 1)
        }
        guard let states = try outputs(batch, wanted, tape: tape).rowStates else {
            return Tensor(zeros: [0], dtype: dtype.accumulator, device: device)
        }
        return try score(states, tape: tape)
    }

    /// The scores of whole sequences.
    ///
    /// A row's score does not depend on the rows beside it, to the bit.
    ///
    /// - Parameter rows: ids of one text each, special tokens included; none empty.
    /// - Returns: one number per row: the score head at the row's last token.
    /// - Throws: as `scores(_:tape:)`.
    package func scores(_ rows: [[Int32]]) throws -> [Float] {
        var scores: [Float] = []
        var start = 0
        while start < rows.count {
            var end = start + 1
            var tokens = rows[start].count
            while end < rows.count, tokens + rows[end].count <= Model.scoringTokens {
                tokens += rows[end].count
                end += 1
            }
            scores += try self.scores(Array(rows[start..<end]), tape: Tape(recording: false))
                .floats()
            start = end
        }
        return scores
    }

    /// The states of all tokens of some sequences after the final norm, without gradient.
    ///
    /// - Parameter sequences: none empty.
    /// - Returns: `[tokens, hidden]`, sequence after sequence.
    /// - Throws: `KeelError` (badData) for ids outside the vocabulary and sequences beyond the context.
    package func states(_ sequences: [[Int32]]) throws -> Tensor {
        let batch = PackedBatch(sequences: sequences, promptLengths: sequences.map(\.count))
        var wanted = Wanted()
        wanted.logprobs = false
        wanted.rows = batch.ids.indices.map { Int32($0) }
        return try outputs(batch, wanted, tape: Tape(recording: false)).rowStates
            ?? Tensor(zeros: [0, architecture.hiddenSize], dtype: dtype, device: device)
    }
}
