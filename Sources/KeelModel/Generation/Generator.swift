import KeelCore
import KeelTensor

/// Continues texts with the weights that are being trained.
///
/// Each prompt is computed once, however many continuations it has; then one token per step and
/// sequence. A finished sequence leaves at once and a waiting one takes its place. What a row becomes
/// depends on its prompt, its id and the seed, not on its neighbours.
package final class Generator {
    private let model: Model
    private let settings: GenerationSettings
    private let sampler: (any TokenSampling)?

    /// A prompt whose keys and values are in the cache.
    private final class Prefix {
        let prompt: [Int32]
        let rows: Range<Int>
        /// State of its last token, once computed: `[1, hidden]`.
        var hidden: Tensor?
        /// Continuations that are running or waiting.
        var users = 0

        init(prompt: [Int32], rows: Range<Int>) {
            self.prompt = prompt
            self.rows = rows
        }
    }

    /// A continuation under way.
    private struct Sequence {
        let request: Int
        let rowID: UInt64
        let prefix: Prefix
        /// Rows for its own tokens.
        let rows: Range<Int>
        let limit: Int
        var ids: [Int32] = []
        var logprobs: [Float] = []
        var behaviour: [Float] = []
        var state: [UInt8] = []
    }

    /// - Parameter sampler: nil = draw from the model's own distribution.
    package init(
        _ model: Model, _ settings: GenerationSettings, sampler: (any TokenSampling)? = nil
    ) {
        self.model = model
        self.settings = settings
        self.sampler = sampler
    }

    /// Continues every request.
    ///
    /// - Parameters:
    ///   - finished: told about each continuation as it ends: number of the request and result.
    ///   - shouldContinue: false ends the run early.
    /// - Returns: in the order of the requests; nil where the run was ended before the text was.
    /// - Throws: `KeelError` (badData) for prompts that do not fit, logits that are not finite; what the
    ///   sampler throws.
    package func run(
        _ requests: [GenerationRequest], finished: (Int, Completion) throws -> Void = { _, _ in },
        shouldContinue: ShouldContinue = { true }
    ) throws -> [Completion?] {
        try model.requireLanguageHead()
        try check(requests)
        var results = [Completion?](repeating: nil, count: requests.count)
        let cache = KVCache(
            model.architecture, capacity: capacity(requests), dtype: model.dtype,
            device: model.device)
        var running: [Sequence] = []
        var prefixes: [[Int32]: Prefix] = [:]
        var next = 0
        while (next < requests.count || !running.isEmpty) && shouldContinue() {
            let old = running.count
            let fresh = admit(requests, &next, &running, &prefixes, cache)
            let hidden = try states(fresh, running[..<old], cache)
            var started = Tensor(
                zeros: [running.count, model.architecture.hiddenSize], dtype: model.dtype,
                device: model.device)
            for (i, prefix) in fresh.enumerated() { prefix.hidden = hidden.rowsView(i, 1) }
            if old > 0 { started.copyRows(from: hidden.rowsView(fresh.count, old), to: 0) }
            for (i, sequence) in running.enumerated().dropFirst(old) {
                guard let state = sequence.prefix.hidden else {
                    preconditionFailure("prompt not computed")
                }
                started.copyRows(from: state, to: i)
            }
            try extend(&running, hidden: &started)
            var i = 0
            while i < running.count {
                guard let completion = ended(running[i]) else {
                    i += 1
                    continue
                }
                let sequence = running.remove(at: i)
                cache.give(sequence.rows)
                sequence.prefix.users -= 1
                if sequence.prefix.users == 0 {
                    cache.give(sequence.prefix.rows)
                    prefixes[sequence.prefix.prompt] = nil
                }
                results[sequence.request] = completion
                try finished(sequence.request, completion)
            }
        }
        return results
    }

    // MARK: Room

    private func limit(_ prompt: [Int32]) -> Int {
        min(settings.maxNewTokens, model.contextLength - prompt.count)
    }

    private func check(_ requests: [GenerationRequest]) throws {
        precondition(settings.maxNewTokens > 0 && settings.batchSize > 0, "\(settings)")
        guard settings.temperature > 0, settings.temperature.isFinite else {
            throw KeelError(
                "generate", "temperature \(settings.temperature)",
                fix: "use a temperature above 0, or the sampler greedy")
        }
        for request in requests {
            guard !request.prompt.isEmpty else {
                throw KeelError(
                    "generate", "an empty prompt", fix: "give at least one token", code: .badData)
            }
            guard limit(request.prompt) > 0 else {
                throw KeelError(
                    "generate",
                    "a prompt of \(request.prompt.count) tokens leaves no room in a context of \(model.contextLength)",
                    fix: "shorten the prompt (max_prompt_length)", code: .badData)
            }
            let vocabulary = Int32(model.vocabularySize)
            if let id = request.prompt.first(where: { $0 < 0 || $0 >= vocabulary }) {
                throw KeelError(
                    "generate", "token id \(id) is not in the model's vocabulary of \(vocabulary)",
                    fix: "use the tokenizer that came with the model", code: .badData)
            }
        }
    }

    /// Rows for the longest `batchSize` requests, each with its own prompt: more is never needed.
    private func capacity(_ requests: [GenerationRequest]) -> Int {
        let needs = requests.map { $0.prompt.count + limit($0.prompt) - 1 }.sorted(by: >)
        return needs.prefix(settings.batchSize).reduce(0, +)
    }

    /// Starts waiting requests while there is room; returns the prompts that must be computed.
    private func admit(
        _ requests: [GenerationRequest], _ next: inout Int, _ running: inout [Sequence],
        _ prefixes: inout [[Int32]: Prefix], _ cache: KVCache
    ) -> [Prefix] {
        var fresh: [Prefix] = []
        var rows = running.count
        while next < requests.count, running.count < settings.batchSize {
            let request = requests[next]
            let known = prefixes[request.prompt]
            if known == nil, !fresh.isEmpty, rows + request.prompt.count > settings.rowsPerPass {
                break
            }
            let prefix: Prefix
            if let known {
                prefix = known
            } else {
                guard let place = cache.take(request.prompt.count) else { break }
                prefix = Prefix(prompt: request.prompt, rows: place)
            }
            let limit = limit(request.prompt)
            guard let own = cache.take(limit - 1) else {
                if known == nil { cache.give(prefix.rows) }
                break
            }
            if known == nil {
                prefixes[request.prompt] = prefix
                fresh.append(prefix)
                rows += request.prompt.count
            }
            prefix.users += 1
            running.append(
                Sequence(
                    request: next, rowID: request.rowID, prefix: prefix, rows: own, limit: limit))
            next += 1
        }
        return fresh
    }

    // MARK: A step

    /// One pass over the new prompts and the last tokens of the running sequences.
    ///
    /// - Returns: `[prompts + sequences, hidden]`: the state that predicts the next token of each.
    private func states(
        _ fresh: [Prefix], _ running: ArraySlice<Sequence>, _ cache: KVCache
    ) throws -> Tensor {
        var ids: [Int32] = []
        var positions: [Int32] = []
        var spans: [(queries: Range<Int>, keys: [Range<Int>])] = []
        var writes: [(rows: Range<Int>, to: Int)] = []
        var selected: [Int32] = []
        for prefix in fresh {
            let rows = ids.count..<ids.count + prefix.prompt.count
            ids += prefix.prompt
            positions += (0..<Int32(prefix.prompt.count))
            spans.append((rows, [prefix.rows]))
            writes.append((rows, prefix.rows.lowerBound))
            selected.append(Int32(rows.upperBound - 1))
        }
        for sequence in running {
            guard let last = sequence.ids.last else {
                preconditionFailure("a sequence without a token runs")
            }
            let row = ids.count
            let own = sequence.ids.count - 1
            ids.append(last)
            positions.append(Int32(sequence.prefix.prompt.count + own))
            let start = sequence.rows.lowerBound
            spans.append((row..<row + 1, [sequence.prefix.rows, start..<start + own + 1]))
            writes.append((row..<row + 1, start + own))
            selected.append(Int32(row))
        }
        guard !ids.isEmpty else {
            return Tensor(
                zeros: [0, model.architecture.hiddenSize], dtype: model.dtype, device: model.device)
        }
        let batch = PackedBatch(
            ids: ids, positions: positions, spans: spans, scored: [], targets: [])
        let pass = model.pass(
            batch, Tape(recording: false), cacheStep: KVCache.Step(cache: cache, writes: writes))
        return model.decoder.hidden(
            ids: Tensor(ids, device: model.device),
            selected: Tensor(selected, device: model.device), pass)
    }

    /// Gives every sequence its next token.
    private func extend(_ running: inout [Sequence], hidden: inout Tensor) throws {
        let vocabulary = model.vocabularySize
        let logits = model.temperedLogits(hidden: hidden, temperature: settings.temperature)
        let before = logits
        var step = SamplingStep(
            logits: logits, vocabulary: vocabulary, settings: settings,
            rowIDs: running.map(\.rowID),
            contexts: running.map { $0.prefix.prompt + $0.ids },
            promptLengths: running.map(\.prefix.prompt.count), states: running.map(\.state))
        let chosen = try sampler?.sample(&step)
        let isEdited = step.logits != before
        precondition(
            step.logits.count == before.count && chosen.map { $0.count == running.count } ?? true,
            "the sampler changed the number of rows")
        for i in running.indices {
            let range = i * vocabulary..<(i + 1) * vocabulary
            let own = Draw(before[range])
            guard own.isUsable else {
                throw KeelError(
                    "generate", "the model's logits are not finite",
                    at: "row \(running[i].rowID), token \(running[i].ids.count)",
                    fix: "the weights have diverged: go back to an earlier checkpoint",
                    code: .failed)
            }
            let edited = isEdited ? Draw(step.logits[range]) : own
            let token: Int32
            if let id = chosen?[i], id != -1 {
                guard id >= 0, id < Int32(vocabulary) else {
                    throw KeelError(
                        "sampler", "token \(id) is not in the vocabulary of \(vocabulary)",
                        at: "row \(running[i].rowID), token \(running[i].ids.count)", code: .failed)
                }
                token = id
            } else {
                guard edited.isUsable else {
                    throw KeelError(
                        "sampler", "no token is left to draw, or a logit is not a number",
                        at: "row \(running[i].rowID), token \(running[i].ids.count)", code: .failed)
                }
                let stream = RandomStream(
                    seed: settings.seed, place: settings.place, settings.step, running[i].rowID)
                token = edited.token(
                    step.logits[range], stream.uniform(UInt64(running[i].ids.count)))
            }
            let at = range.lowerBound + Int(token)
            running[i].ids.append(token)
            running[i].logprobs.append(own.logprob(before[at]))
            running[i].behaviour.append(
                edited.isUsable ? edited.logprob(step.logits[at]) : own.logprob(before[at]))
            running[i].state = step.states[i]
        }
    }

    /// The completion when the sequence's last token ended it.
    private func ended(_ sequence: Sequence) -> Completion? {
        guard let last = sequence.ids.last else { return nil }
        let isEnd = settings.eosIDs.contains(last)
        guard isEnd || sequence.ids.count >= sequence.limit else { return nil }
        return Completion(
            rowID: sequence.rowID, prompt: sequence.prefix.prompt, ids: sequence.ids,
            logprobs: sequence.logprobs,
            behaviourLogprobs: sequence.behaviour, finishReason: isEnd ? .eos : .length)
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
