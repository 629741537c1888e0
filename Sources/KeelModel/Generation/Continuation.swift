import KeelTensor

/// A prompt whose keys and values are in the cache.
final class Prefix {
    let prompt: [Int32]
    var table: BlockTable
    /// State of its last token, once computed: `[1, hidden]`.
    var hidden: Tensor?
    /// Continuations that run on it.
    var users = 0

    init(prompt: [Int32], table: BlockTable) {
        self.prompt = prompt
        self.table = table
    }
}

/// A continuation, running or waiting.
final class Continuation {
    /// Number of the request.
    let request: Int
    let rowID: UInt64
    let prompt: [Int32]
    /// Tokens at most.
    let limit: Int
    var ids: [Int32] = []
    var logprobs: [Float] = []
    var behaviour: [Float] = []
    /// The sampler's bytes.
    var state: [UInt8] = []
    var watch: (any TextWatch)?
    /// Where its last token cut the text.
    var textBytes: Int?
    var finishReason: FinishReason?

    /// Its prompt in the cache; nil while it waits.
    var prefix: Prefix?
    /// The blocks of its own tokens.
    var table = BlockTable()
    /// Own tokens whose keys and values are in the cache.
    var stored = 0

    init(request: Int, _ given: GenerationRequest, limit: Int, watch: (any TextWatch)?) {
        self.request = request
        rowID = given.rowID
        prompt = given.prompt
        self.limit = limit
        self.watch = watch
    }

    /// What it became, once it has ended.
    var completion: Completion? {
        finishReason.map {
            Completion(
                rowID: rowID, prompt: prompt, ids: ids, logprobs: logprobs,
                behaviourLogprobs: behaviour, finishReason: $0, textBytes: textBytes)
        }
    }
}

/// Who runs and who waits, by the room there is in the cache.
///
/// First come, first served: the running are always the earliest requests that are not done. When blocks run
/// out while sequences grow, the latest one gives its blocks back and waits; what it said so far is computed
/// again in one pass when there is room.
final class Roster {
    let cache: KVCache
    private let settings: GenerationSettings
    /// By request.
    private(set) var running: [Continuation] = []
    private var waiting: ArraySlice<Continuation>
    private var prefixes: [[Int32]: Prefix] = [:]
    /// How often a sequence was sent back.
    private(set) var preemptions = 0

    init(_ all: [Continuation], cache: KVCache, settings: GenerationSettings) {
        waiting = all[...]
        self.cache = cache
        self.settings = settings
    }

    var isDone: Bool { running.isEmpty && waiting.isEmpty }

    /// Prepares the next pass: room for what the running sequences store in it, then newcomers.
    ///
    /// - Returns: the prompts to be computed.
    func admit() -> [Prefix] {
        grow()
        var fresh: [Prefix] = []
        var rows = running.reduce(0) { $0 + $1.ids.count - $1.stored }
        while let next = waiting.first, running.count < settings.batchSize {
            let known = prefixes[next.prompt]
            let cost = (known == nil ? next.prompt.count : 0) + next.ids.count
            if rows > 0, cost > 1, rows + cost > settings.rowsPerPass { break }
            let need =
                (known == nil ? cache.blocks(next.prompt.count) : 0) + cache.blocks(next.ids.count)
            // Every running sequence may need another block soon: newcomers must not take the last ones.
            guard need + running.count <= cache.freeBlocks else { break }
            let prefix = known ?? start(next.prompt)
            if known == nil { fresh.append(prefix) }
            prefix.users += 1
            next.prefix = prefix
            let hasRoom = cache.extend(&next.table, to: next.ids.count)
            precondition(hasRoom, "\(cache.freeBlocks) blocks are free, \(need) were needed")
            rows += cost
            running.append(next)
            waiting = waiting.dropFirst()
        }
        precondition(
            !running.isEmpty || waiting.isEmpty, "nothing can run in \(cache.limit) blocks")
        return fresh
    }

    private func start(_ prompt: [Int32]) -> Prefix {
        var table = BlockTable()
        let hasRoom = cache.extend(&table, to: prompt.count)
        precondition(hasRoom, "no room for a prompt of \(prompt.count) tokens")
        let prefix = Prefix(prompt: prompt, table: table)
        prefixes[prompt] = prefix
        return prefix
    }

    /// Gives every running sequence room for its last token; the latest ones make way for the others.
    private func grow() {
        var i = 0
        while i < running.count {
            let one = running[i]
            if cache.extend(&one.table, to: one.ids.count) {
                i += 1
            } else {
                guard let last = running.popLast() else { return }
                release(last)
                waiting = [last] + waiting
                preemptions += 1
            }
        }
    }

    /// Takes back what a sequence holds in the cache.
    private func release(_ one: Continuation) {
        cache.give(&one.table)
        one.stored = 0
        guard let prefix = one.prefix else { return }
        one.prefix = nil
        prefix.users -= 1
        if prefix.users == 0 {
            cache.give(&prefix.table)
            prefixes[prefix.prompt] = nil
        }
    }

    /// Lets the sequences go that have ended.
    func takeEnded() -> [Continuation] {
        let ended = running.filter { $0.finishReason != nil }
        guard !ended.isEmpty else { return [] }
        running.removeAll { $0.finishReason != nil }
        for one in ended { release(one) }
        return ended
    }
}
