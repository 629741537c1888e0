import KeelCore
import KeelTensor

extension Generator {
    /// Gives every sequence its next token.
    ///
    /// - Parameter hidden: `[sequences, hidden]`
    func extend(_ running: [Continuation], hidden: inout Tensor) throws {
        let vocabulary = model.vocabularySize
        let before = model.temperedLogits(hidden: hidden, temperature: settings.temperature)
        var step = SamplingStep(
            logits: before, vocabulary: vocabulary, settings: settings,
            rowIDs: running.map(\.rowID), contexts: running.map { $0.prompt + $0.ids },
            promptLengths: running.map(\.prompt.count), states: running.map(\.state))
        forbidEnds(&step.logits, running)
        let chosen = try sampler?.sample(&step)
        let isEdited = step.logits != before
        precondition(
            step.logits.count == before.count && chosen.map { $0.count == running.count } ?? true,
            "the sampler changed the number of rows")
        for (i, one) in running.enumerated() {
            let range = i * vocabulary..<(i + 1) * vocabulary
            let own = Draw(before[range])
            guard own.isUsable else {
                throw KeelError(
                    "generate", "the model's logits are not finite",
                    at: "row \(one.rowID), token \(one.ids.count)",
                    fix: "the weights have diverged: go back to an earlier checkpoint",
                    code: .failed)
            }
            let edited = isEdited ? Draw(step.logits[range]) : own
            let token: Int32
            if let id = chosen?[i], id != -1 {
                guard id >= 0, id < Int32(vocabulary) else {
                    throw KeelError(
                        "sampler", "token \(id) is not in the vocabulary of \(vocabulary)",
                        at: "row \(one.rowID), token \(one.ids.count)", code: .failed)
                }
                token = id
            } else {
                guard edited.isUsable else {
                    throw KeelError(
                        "sampler", "no token is left to draw, or a logit is not a number",
                        at: "row \(one.rowID), token \(one.ids.count)", code: .failed)
                }
                let stream = RandomStream(
                    seed: settings.seed, place: settings.place, settings.step, one.rowID)
                token = edited.token(step.logits[range], stream.uniform(UInt64(one.ids.count)))
            }
            let at = range.lowerBound + Int(token)
            one.ids.append(token)
            one.logprobs.append(own.logprob(before[at]))
            one.behaviour.append(
                edited.isUsable ? edited.logprob(step.logits[at]) : own.logprob(before[at]))
            one.state = step.states[i]
            try end(one, with: token)
        }
    }

    /// The ids that end texts are not drawn before `minNewTokens`.
    private func forbidEnds(_ logits: inout [Float], _ running: [Continuation]) {
        for (i, one) in running.enumerated() where one.ids.count < settings.minNewTokens {
            for id in settings.eosIDs where id >= 0 && Int(id) < model.vocabularySize {
                logits[i * model.vocabularySize + Int(id)] = -.infinity
            }
        }
    }

    /// Sees whether its last token ends a sequence.
    private func end(_ one: Continuation, with token: Int32) throws {
        let cut = try one.watch?.append(token)
        let mayEnd = one.ids.count >= settings.minNewTokens
        if mayEnd, settings.eosIDs.contains(token) {
            one.finishReason = .eos
        } else if mayEnd, let cut {
            one.finishReason = .stop
            one.textBytes = cut
        } else if one.ids.count >= one.limit {
            one.finishReason = .length
        }
    }
}

extension Model {
    /// Next-token logits over the temperature, row by row.
    fileprivate func temperedLogits(hidden: Tensor, temperature: Double) -> [Float] {
        let pass = pass(
            PackedBatch(ids: [], positions: [], spans: [], scored: [], targets: []),
            Tape(recording: false))
        var logits = logits(hidden: hidden, pass).floats()
        if temperature != 1 {
            let inverse = Float(1 / temperature)
            for i in logits.indices { logits[i] *= inverse }
        }
        return logits
    }
}
