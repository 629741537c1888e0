import KeelCore
import KeelTensor

/// Continues texts with the weights that are being trained.
///
/// Each prompt is computed once, however many continuations it has; then one token per step and
/// sequence. A finished sequence leaves at once and a waiting one takes its place. What a row becomes
/// depends on its prompt, its id and the seed, not on its neighbours, nor on the room in the cache.
package final class Generator {
    let model: Model
    let settings: GenerationSettings
    let sampler: (any TokenSampling)?
    private let ending: (any TextEnding)?
    /// Of the run under way.
    private(set) var packed: PackedWeights?
    /// Of the last run.
    package private(set) var statistics = GenerationStatistics()

    /// - Parameters:
    ///   - sampler: nil = draw from the model's own distribution.
    ///   - ending: ends texts by what they say; nil = ids and lengths end them.
    package init(
        _ model: Model, _ settings: GenerationSettings, sampler: (any TokenSampling)? = nil,
        ending: (any TextEnding)? = nil
    ) {
        self.model = model
        self.settings = settings
        self.sampler = sampler
        self.ending = ending
    }

    /// Continues every request.
    ///
    /// - Parameters:
    ///   - drawn: told about each token that does not end its text: number of the request and id.
    ///   - finished: told about each continuation as it ends: number of the request and result.
    ///   - shouldContinue: false ends the run early.
    /// - Returns: in the order of the requests; nil where the run was ended before the text was.
    /// - Throws: `KeelError` (badData) for prompts that do not fit, logits that are not finite; what the
    ///   sampler throws.
    package func run(
        _ requests: [GenerationRequest], drawn: (Int, Int32) throws -> Void = { _, _ in },
        finished: (Int, Completion) throws -> Void = { _, _ in },
        shouldContinue: ShouldContinue = { true }
    ) throws -> [Completion?] {
        try model.requireLanguageHead()
        try check(requests)
        var results = [Completion?](repeating: nil, count: requests.count)
        let roster = Roster(
            requests.enumerated().map {
                Continuation(
                    request: $0, $1, limit: limit($1.prompt), watch: ending?.watch())
            }, cache: try cache(for: requests), settings: settings)
        statistics = GenerationStatistics()
        packed = PackedWeights()
        defer { packed = nil }
        while !roster.isDone && shouldContinue() {
            let (cpu, wall) = (Clock.cpu(), Clock.now())
            let fresh = roster.admit()
            let isReading = !fresh.isEmpty
            let tokens = isReading ? fresh.reduce(0) { $0 + $1.prompt.count } : roster.running.count
            var hidden = try states(fresh, roster.running, roster.cache)
            try extend(roster.running, hidden: &hidden)
            for one in roster.running where one.finishReason == nil {
                if let id = one.ids.last { try drawn(one.request, id) }
            }
            for one in roster.takeEnded() {
                guard let completion = one.completion else { continue }
                results[one.request] = completion
                try finished(one.request, completion)
            }
            statistics.add(
                isReading ? \.reading : \.continuing,
                GenerationStatistics.Span(
                    tokens: tokens, cpu: Clock.cpu() - cpu, wall: Clock.now() - wall))
            statistics.preemptions = roster.preemptions
            statistics.peakCacheBytes = roster.cache.peakBytes
        }
        return results
    }

    // MARK: Room

    private func limit(_ prompt: [Int32]) -> Int {
        min(settings.maxNewTokens, model.contextLength - prompt.count)
    }

    private func check(_ requests: [GenerationRequest]) throws {
        precondition(
            settings.maxNewTokens > 0 && settings.batchSize > 0 && settings.cacheBlockSize > 0,
            "\(settings)")
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

    /// A cache with room for the longest `batchSize` requests, each with its own prompt, or for what the
    /// settings allow.
    private func cache(for requests: [GenerationRequest]) throws -> KVCache {
        let size = settings.cacheBlockSize
        func blocks(_ tokens: Int) -> Int { (tokens + size - 1) / size }
        let needs = requests.map { blocks($0.prompt.count) + blocks(limit($0.prompt) - 1) }
            .sorted(by: >)
        let atOnce = needs.prefix(settings.batchSize)
        var most = atOnce.reduce(0, +) + atOnce.count
        if let tokens = settings.cacheTokens {
            most = min(most, tokens / size)
            if let longest = needs.first, longest > most {
                throw KeelError(
                    "generate",
                    "a prompt and its completion may need \(longest * size) tokens of the cache, which holds \(tokens)",
                    fix: "let the cache hold more (cache_tokens), or generate fewer tokens",
                    code: .badData)
            }
        }
        return KVCache(
            model.architecture, blockSize: size, limit: most, dtype: model.dtype,
            device: model.device)
    }

    // MARK: A step

    /// One pass over the new prompts and the tokens of the running sequences that are not stored yet.
    ///
    /// - Returns: `[sequences, hidden]`: the state that predicts the next token of each.
    private func states(
        _ fresh: [Prefix], _ running: [Continuation], _ cache: KVCache
    ) throws -> Tensor {
        var pass = CachedPass(cache)
        for prefix in fresh {
            pass.add(prefix.prompt[...], at: 0, behind: nil, prefix.table)
        }
        for one in running where !one.ids.isEmpty {
            guard let prefix = one.prefix else { preconditionFailure("no prompt to run on") }
            pass.add(one.ids[one.stored...], at: one.stored, behind: prefix, one.table)
            statistics.repeatedRows += one.ids.count - one.stored - 1
            one.stored = one.ids.count
        }
        let states = Tensor(
            zeros: [running.count, model.architecture.hiddenSize], dtype: model.dtype,
            device: model.device)
        let computed = pass.isEmpty ? states : pass.run(model, packed)
        statistics.passes += pass.isEmpty ? 0 : 1
        for (i, prefix) in fresh.enumerated() {
            let own = Tensor(
                zeros: [1, computed.columns], dtype: model.dtype, device: model.device)
            own.copyRows(from: computed.rowsView(i, 1), to: 0)
            prefix.hidden = own
        }
        var row = fresh.count
        for (i, one) in running.enumerated() {
            if one.ids.isEmpty {
                guard let state = one.prefix?.hidden else {
                    preconditionFailure("prompt not computed")
                }
                states.copyRows(from: state, to: i)
            } else {
                states.copyRows(from: computed.rowsView(row, 1), to: i)
                row += 1
            }
        }
        return states
    }
}

/// A forward pass whose keys and values go into the cache.
private struct CachedPass {
    private let cache: KVCache
    private var ids: [Int32] = []
    private var positions: [Int32] = []
    private var spans: [(queries: Range<Int>, keys: [Range<Int>])] = []
    private var writes: [(rows: Range<Int>, to: Int)] = []
    private var selected: [Int32] = []

    init(_ cache: KVCache) { self.cache = cache }

    var isEmpty: Bool { ids.isEmpty }

    /// Tokens `start...` of a table; the state of the last one is wanted.
    mutating func add(
        _ tokens: ArraySlice<Int32>, at start: Int, behind prefix: Prefix?, _ table: BlockTable
    ) {
        let first = ids.count
        let end = start + tokens.count
        let before = prefix?.prompt.count ?? 0
        ids += tokens
        positions += (before + start..<before + end).map { Int32($0) }
        let prompt = prefix.map { $0.table.rows(0..<before) } ?? []
        spans.append((first..<ids.count, prompt + table.rows(0..<end)))
        var row = first
        for place in table.rows(start..<end) {
            writes.append((row..<row + place.count, place.lowerBound))
            row += place.count
        }
        selected.append(Int32(ids.count - 1))
    }

    /// The states of the last tokens, `[additions, hidden]`.
    func run(_ model: Model, _ packed: PackedWeights?) -> Tensor {
        let batch = PackedBatch(
            ids: ids, positions: positions, spans: spans, scored: [], targets: [])
        let pass = model.pass(
            batch, Tape(recording: false), cacheStep: KVCache.Step(cache: cache, writes: writes),
            packed: packed)
        return model.decoder.hidden(
            ids: Tensor(ids, device: model.device),
            selected: Tensor(selected, device: model.device), pass)
    }
}
