import KeelTensor

extension Model {
    /// The first module of a pass that gives a number which is not finite; nil when all are finite.
    ///
    /// The names are those of the decoder's parts: embedding, layer 0 ..., final norm, LM head.
    ///
    /// - Throws: `KeelError` (badData) for ids outside the vocabulary and positions outside the context.
    package func firstFault(_ batch: PackedBatch) throws -> String? {
        try check(batch)
        let pass = self.pass(batch, Tape(recording: false))
        let rows = Tensor(batch.ids.indices.map { Int32($0) }, device: device)
        var fault: String?
        let hidden = decoder.hidden(
            ids: Tensor(batch.ids, device: device), selected: rows, pass
        ) { module, states in
            if fault == nil, !states.doubles().allSatisfy(\.isFinite) { fault = module }
        }
        if fault == nil, architecture.hasLanguageHead,
            !logits(hidden: hidden, pass).doubles().allSatisfy(\.isFinite)
        {
            fault = "the LM head"
        }
        return fault
    }
}
