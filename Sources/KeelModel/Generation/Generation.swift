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

    /// Temperature 1, no seed, batches of 32.
    package init(maxNewTokens: Int, eosIDs: [Int32]) {
        self.maxNewTokens = maxNewTokens
        self.eosIDs = eosIDs
    }
}

/// Why a text ended.
package enum FinishReason: String, Sendable {
    case eos
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
}

/// Keeps generating while it returns true; asked once per step.
package typealias ShouldContinue = () -> Bool
