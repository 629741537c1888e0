import CKeel
import KeelCore

/// A token sampler of a run.
package final class TokenSamplerInstance {
    package let instance: Instance
    package var component: Component { instance.component }
    /// Bytes of memory that travel with each sequence.
    package var sequenceBytes: Int { component.sequenceBytes }

    package init(
        _ component: Component, catalog: PluginCatalog, parameters: ParameterValues,
        name: String? = nil,
        seed: UInt64 = 0, context: CallContext = CallContext()
    ) throws {
        precondition(component.kind == .tokenSampler, "\(component.title) is no token sampler")
        instance = try Instance(
            component, catalog: catalog, parameters: parameters, name: name, seed: seed,
            context: context)
    }

    /// What the sampler knows about one sequence.
    package struct Sequence: Sendable {
        /// The permanent id that random numbers depend on.
        package var id: UInt64
        /// All ids so far, prompt first.
        package var tokens: [Int32]
        package var promptLength: Int

        package init(id: UInt64, tokens: [Int32], promptLength: Int) {
            self.id = id
            self.tokens = tokens
            self.promptLength = promptLength
        }
    }

    /// Lets the sampler edit the logits and choose tokens.
    ///
    /// - Parameters:
    ///   - logits: [n, vocabulary], edited in place; -inf excludes a token.
    ///   - states: `sequenceBytes` for each sequence, zero at first; they travel with the sequences.
    /// - Returns: one token per sequence, -1 where the host draws from the edited logits.
    /// - Throws: `KeelError` (failed) for a token out of range or an empty choice.
    package func sample(
        logits: inout [Float], vocabulary: Int, sequences: [Sequence], states: inout [[UInt8]],
        context: CallContext
    ) throws -> [Int32] {
        let rows = sequences.count
        precondition(
            logits.count == rows * vocabulary,
            "\(logits.count) logits for \(rows) rows of \(vocabulary)")
        precondition(states.count == rows, "\(states.count) states for \(rows) sequences")
        guard let sample = instance.raw.sample, rows > 0 else { return [] }
        var batch = ColumnBatch(rows: rows)
        batch.rowIDs = sequences.map(\.id)
        batch.tokens = sequences.map(\.tokens)
        batch.promptLengths = sequences.map(\.promptLength)
        let call = Call(instance, .sample, batch: batch, context: context)
        let size = sequenceBytes
        var memories: [UnsafeMutableRawPointer?] = []
        for state in states {
            precondition(state.count == size, "a state of \(state.count) bytes, not \(size)")
            memories.append(UnsafeMutableRawPointer(call.memory.copy(state)))
        }
        var tokens = [Int32](repeating: -1, count: rows)
        let status = logits.withUnsafeMutableBufferPointer { buffer -> keel_status in
            guard let base = buffer.baseAddress else { return 0 }
            var array = call.memory.array(
                UnsafeMutableRawPointer(base), shape: [rows, vocabulary], code: 2, bits: 32)
            return sample(instance.own, call.pointer, &array, &memories, &tokens)
        }
        try call.finish(status)
        if size > 0 {
            for (row, memory) in memories.enumerated() {
                states[row] = Array(UnsafeRawBufferPointer(start: memory, count: size))
            }
        }
        for row in 0..<rows {
            let range = row * vocabulary..<(row + 1) * vocabulary
            try check(
                tokens[row], logits[range], row: row, id: sequences[row].id, vocabulary: vocabulary)
        }
        return tokens
    }

    private func check(
        _ token: Int32, _ logits: ArraySlice<Float>, row: Int, id: UInt64, vocabulary: Int
    ) throws {
        func refuse(_ what: String) -> KeelError {
            KeelError(
                "plugin", "\(instance.title): \(what) for sequence \(id)", at: component.path,
                code: .failed)
        }
        if token == -1 {
            var best = -Float.infinity
            var hasNaN = false
            for value in logits {
                best = max(best, value)
                hasNaN = hasNaN || value.isNaN
            }
            if hasNaN { throw refuse("left a NaN among the logits") }
            guard best > -.infinity, best < .infinity else {
                throw refuse(best < 0 ? "excluded every token" : "left an infinite logit")
            }
            return
        }
        guard token >= 0, token < vocabulary else {
            throw refuse("chose token \(token) of \(vocabulary)")
        }
        if logits[logits.startIndex + Int(token)] == -.infinity {
            throw refuse("chose token \(token), which is excluded")
        }
    }
}
