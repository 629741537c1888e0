import KeelCore
import KeelTensor

extension Generator {
    /// Gives every sequence its next token.
    ///
    /// - Parameter hidden: `[sequences, hidden]`
    func extend(_ running: [Continuation], hidden: inout Tensor) throws {
        let logits = model.temperedLogits(
            hidden: hidden, temperature: settings.temperature, packed)
        try StageClock.measure(.sampling) { try extend(running, logits) }
    }

    private func extend(_ running: [Continuation], _ before: [Float]) throws {
        let vocabulary = model.vocabularySize
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
        // Rows are drawn side by side: each is a pass over the vocabulary.
        let all = Guarded([Result<Drawn, any Error>?](repeating: nil, count: running.count))
        model.device.pool.parallelFor(running.count) { i in
            let range = i * vocabulary..<(i + 1) * vocabulary
            let one = Result {
                try draw(
                    running[i], before[range], isEdited ? step.logits[range] : nil, chosen?[i])
            }
            all.withLock { $0[i] = one }
        }
        for (i, result) in all.withLock({ $0 }).enumerated() {
            guard let drawn = try result?.get() else { preconditionFailure("row \(i) not drawn") }
            let one = running[i]
            one.ids.append(drawn.token)
            one.logprobs.append(drawn.logprob)
            one.behaviour.append(drawn.behaviour)
            one.state = step.states[i]
            try end(one, with: drawn.token)
        }
    }

    /// A token and its log-probs before and after the sampler's edits.
    private struct Drawn {
        var token: Int32
        var logprob: Float
        var behaviour: Float
    }

    /// One row's next token.
    ///
    /// - Parameters:
    ///   - logits: the model's own.
    ///   - edits: what the sampler made of them; nil = nothing.
    ///   - chosen: what the sampler chose; nil or -1 = the draw is ours.
    private func draw(
        _ one: Continuation, _ logits: ArraySlice<Float>, _ edits: ArraySlice<Float>?,
        _ chosen: Int32?
    ) throws -> Drawn {
        let place = "row \(one.rowID), token \(one.ids.count)"
        let own = Draw(logits, model.device)
        guard own.isUsable else {
            throw KeelError(
                "generate", "the model's logits are not finite", at: place,
                fix: "the weights have diverged: go back to an earlier checkpoint", code: .failed)
        }
        let edited = edits.map { Draw($0, model.device) } ?? own
        let final = edits ?? logits
        let token: Int32
        if let id = chosen, id != -1 {
            guard id >= 0, Int(id) < logits.count else {
                throw KeelError(
                    "sampler", "token \(id) is not in the vocabulary of \(logits.count)", at: place,
                    code: .failed)
            }
            token = id
        } else {
            guard edited.isUsable else {
                throw KeelError(
                    "sampler", "no token is left to draw, or a logit is not a number", at: place,
                    code: .failed)
            }
            let stream = RandomStream(
                seed: settings.seed, place: settings.place, settings.step, one.rowID)
            token = edited.token(final, stream.uniform(UInt64(one.ids.count)))
        }
        let logprob = own.logprob(logits[logits.startIndex + Int(token)])
        return Drawn(
            token: token, logprob: logprob,
            behaviour: edited.isUsable
                ? edited.logprob(final[final.startIndex + Int(token)]) : logprob)
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
    fileprivate func temperedLogits(
        hidden: Tensor, temperature: Double, _ packed: PackedWeights?
    ) -> [Float] {
        let pass = pass(
            PackedBatch(ids: [], positions: [], spans: [], scored: [], targets: []),
            Tape(recording: false), packed: packed)
        var logits = logits(hidden: hidden, pass).floats()
        if temperature != 1 {
            let inverse = Float(1 / temperature)
            for i in logits.indices { logits[i] *= inverse }
        }
        return logits
    }
}
