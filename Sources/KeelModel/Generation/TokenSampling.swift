/// Chooses the next tokens, or edits the distribution they are drawn from.
package protocol TokenSampling: AnyObject {
    /// One step over several sequences at once.
    ///
    /// - Returns: an id for each row, or -1 to let the host draw from the edited logits.
    /// - Throws: what makes the step impossible; the generation ends with it.
    func sample(_ step: inout SamplingStep) throws -> [Int32]
}

/// What a token sampler sees of one step: `rows` sequences that each need a token.
package struct SamplingStep {
    /// Row by row `[rows * vocabulary]`, already divided by the temperature.
    ///
    /// May be edited; -inf = never.
    package var logits: [Float]
    /// Logits of one row.
    package let vocabulary: Int
    /// Those of the generation: its step, temperature, ids that end a text.
    package let settings: GenerationSettings
    /// The permanent id of each row's sequence.
    package let rowIDs: [UInt64]
    /// Prompt and generated ids of each sequence.
    package let contexts: [[Int32]]
    /// How many ids of each context are its prompt.
    package let promptLengths: [Int]
    /// Bytes that the sampler keeps for each sequence between steps; empty at first.
    package var states: [[UInt8]]

    /// Sequences that need a token.
    package var rows: Int { rowIDs.count }
}

/// The likeliest token, the lowest id among equals.
package final class ArgmaxSampling: TokenSampling {
    /// Has no settings.
    package init() {}

    /// Edits nothing.
    package func sample(_ step: inout SamplingStep) throws -> [Int32] {
        (0..<step.rows).map { row in
            let start = row * step.vocabulary
            var best = 0
            for i in 1..<max(1, step.vocabulary)
            where step.logits[start + i] > step.logits[start + best] { best = i }
            return Int32(best)
        }
    }
}
