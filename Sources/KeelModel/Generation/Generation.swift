import KeelCore

/// A text to be continued.
package struct GenerationRequest: Sendable {
    /// At least one id.
    package var prompt: [Int32]
    /// The continuation's permanent number: it alone (with seed and step) decides the random draws.
    package var rowID: UInt64

    /// A prompt and the number of its continuation.
    package init(prompt: [Int32], rowID: UInt64) {
        self.prompt = prompt
        self.rowID = rowID
    }
}

/// How texts are continued.
package struct GenerationSettings: Sendable {
    /// Tokens at most; the model's context may end a text earlier.
    package var maxNewTokens: Int
    /// Tokens before which nothing but `maxNewTokens` and the context ends a text: its end ids are not drawn.
    package var minNewTokens = 0
    /// Divides the logits before the sampler sees them.
    package var temperature: Double = 1
    /// Ids that end a text; they belong to it.
    package var eosIDs: [Int32]
    /// Of the random draws.
    package var seed: UInt64 = 0
    /// What the random draws are for, so that different uses of a seed differ.
    package var place = "generate"
    /// The training step, or 0: the same row in another step gets other draws.
    package var step: UInt64 = 0
    /// Sequences decoded at once.
    package var batchSize = 32
    /// Rows of one forward pass at most (a longer prompt has a pass of its own).
    package var rowsPerPass = 4096
    /// Tokens whose keys and values are held at once; nil = as many as `batchSize` sequences come to need.
    ///
    /// Where sequences outgrow it, the last ones wait and are computed again later, with the same result.
    package var cacheTokens: Int?
    /// Tokens of one block of the cache.
    package var cacheBlockSize = 16

    /// Temperature 1, no seed, batches of 32.
    package init(maxNewTokens: Int, eosIDs: [Int32]) {
        self.maxNewTokens = maxNewTokens
        self.eosIDs = eosIDs
    }
}

/// Why a text ended.
package enum FinishReason: String, Sendable {
    /// Its last token is one of the ids that end texts.
    case eos
    /// It came to say something that ends texts: a stop string.
    case stop
    /// It has `maxNewTokens`, or fills the model's context.
    case length
}

/// A finished continuation.
package struct Completion: Sendable {
    package var rowID: UInt64
    package var prompt: [Int32]
    package var ids: [Int32]
    /// log p(token) at the temperature, over the whole vocabulary.
    package var logprobs: [Float]
    /// The same after the sampler's edits: what the token was really drawn with.
    package var behaviourLogprobs: [Float]
    package var finishReason: FinishReason
    /// Bytes of its text in front of what ended it; nil = all of them.
    package var textBytes: Int?
}

/// What a generation took.
package struct GenerationStatistics: Sendable, Equatable {
    /// Forward passes.
    package var passes = 0
    /// Rows that were computed again after their sequence had to wait.
    package var repeatedRows = 0
    /// How often a sequence had to give its blocks back and wait.
    package var preemptions = 0
    /// Bytes of the cache that were in use at once.
    package var peakCacheBytes = 0
    /// Steps that read prompts, and may continue other texts beside them.
    package var reading = Span()
    /// Steps that only continued texts.
    package var continuing = Span()

    /// What steps of one kind took.
    package struct Span: Sendable, Equatable {
        /// Rows of prompts, or tokens drawn.
        package var tokens = 0
        /// Seconds of all threads.
        package var cpu = 0.0
        /// Seconds.
        package var wall = 0.0
    }

    mutating func add(_ kind: WritableKeyPath<GenerationStatistics, Span>, _ span: Span) {
        self[keyPath: kind].tokens += span.tokens
        self[keyPath: kind].cpu += span.cpu
        self[keyPath: kind].wall += span.wall
    }

    /// For people who ask how fast it was.
    package var line: String {
        func rate(_ seconds: Double) -> String {
            seconds > 0 ? tenths(Double(continuing.tokens) / seconds) : "-"
        }
        func tenths(_ value: Double) -> String {
            let whole = Int((value * 10).rounded())
            return "\(whole / 10).\(whole % 10)"
        }
        return
            "continued: \(continuing.tokens) tokens in \(tenths(continuing.wall)) s, \(rate(continuing.wall)) "
            + "tokens/s, \(rate(continuing.cpu)) tokens/CPU s; steps with prompts: \(reading.tokens) tokens in "
            + "\(tenths(reading.wall)) s"
    }
}

/// Keeps generating while it returns true; asked once per step.
package typealias ShouldContinue = () -> Bool
