import KeelCore

/// A decoder as data: what a family says about itself, and what `Decoder` computes.
package struct Architecture: Sendable {
    /// The family's name.
    package var family: String
    /// Rows of the embedding; ids are below it.
    package var vocabularySize: Int
    /// Cells of a state.
    package var hiddenSize: Int
    /// `max_position_embeddings`: tokens of the longest sequence the model was made for; `Rope.reach` where that is less.
    package var contextLength: Int
    /// One row per id: `[vocabulary, hidden]`.
    package var embedding: Weight
    /// An id whose embedding starts at 0 and gets no gradient from being read (torch's `padding_idx`).
    ///
    /// A tied head still trains it.
    package var paddingID: Int32?
    /// Multiplies the embeddings, rounded to the type that computes; nil = 1.
    package var embeddingScale: Float?
    /// `[context, hidden]`, added to the embeddings; nil where positions are rotary.
    package var positions: Weight?
    /// The layers, from the embedding up.
    package var blocks: [Block]
    /// Applied to the states the head reads.
    package var finalNorm: Norm
    /// `[vocabulary, hidden]`; nil = the embedding is the head too.
    package var head: Weight?
    /// What the head's tensor is called, or would be if it were one of its own.
    package var headName = "lm_head.weight"
    /// False for a model that has no LM head: a reward model or a critic.
    package var hasLanguageHead = true
    /// `[1, hidden]`: one number of a state, as `*ForSequenceClassification` stores it; nil = none.
    package var score: Weight?
    /// Logits become cap * tanh(logits / cap); nil = no cap.
    package var logitSoftcap: Float?
    /// What a file may leave out in front of every name: "transformer.".
    package var optionalPrefix: String
    /// Ends of names of tensors that are no parameters (masks, tables); they are not read.
    package var ignoredSuffixes: [String]

    /// A decoder without padding id and soft caps; set those afterwards.
    package init(
        family: String, vocabularySize: Int, hiddenSize: Int, contextLength: Int, embedding: Weight,
        positions: Weight? = nil, blocks: [Block], finalNorm: Norm, head: Weight?,
        optionalPrefix: String,
        ignoredSuffixes: [String] = []
    ) {
        self.family = family
        self.vocabularySize = vocabularySize
        self.hiddenSize = hiddenSize
        self.contextLength = contextLength
        self.embedding = embedding
        self.positions = positions
        self.blocks = blocks
        self.finalNorm = finalNorm
        self.head = head
        self.optionalPrefix = optionalPrefix
        self.ignoredSuffixes = ignoredSuffixes
    }

    /// Positions beyond which the model cannot be computed; nil = there is no end.
    package var reach: Int? {
        positions?.shape[0] ?? blocks.compactMap { $0.attention.rope?.reach }.min()
    }

    /// Every tensor the model has, each once.
    package var weights: [Weight] {
        [embedding] + (positions.map { [$0] } ?? []) + blocks.flatMap(\.weights) + finalNorm.weights
            + (hasLanguageHead ? head.map { [$0] } ?? [] : []) + (score.map { [$0] } ?? [])
    }

    /// The head's place: a tied one has a name of its own, under which the embedding stands.
    package var headWeight: Weight { head ?? Weight(headName, embedding.shape) }

    /// True when the embedding is the head too.
    package var isTied: Bool { head == nil }

    /// What the states are turned into.
    package var outputs: Outputs {
        var outputs: Outputs = []
        if hasLanguageHead { outputs.insert(.language) }
        if score != nil { outputs.insert(.score) }
        return outputs
    }

    /// The same trunk under other heads.
    ///
    /// - Parameter scoreStart: how a score head starts that no file holds.
    package func with(_ outputs: Outputs, scoreStart: Weight.Start = .normal(1)) -> Architecture {
        var copy = self
        copy.hasLanguageHead = outputs.contains(.language)
        copy.score =
            outputs.contains(.score) ? Weight("score.weight", [1, hiddenSize], scoreStart) : nil
        return copy
    }
}

/// What stands on a decoder's last states.
package struct Outputs: OptionSet, Sendable, Hashable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Log-probabilities of the next token.
    package static let language = Outputs(rawValue: 1)
    /// One number per state: a reward at the last token, a critic's value at every one.
    package static let score = Outputs(rawValue: 2)
}
