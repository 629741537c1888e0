import KeelCore

/// A decoder as data: what a family says about itself, and what `Decoder` computes.
package struct Architecture: Sendable {
    /// The family's name.
    package var family: String
    /// Rows of the embedding; ids are below it.
    package var vocabularySize: Int
    /// Cells of a state.
    package var hiddenSize: Int
    /// `max_position_embeddings`: tokens of the longest sequence the model was made for.
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

    /// Every tensor the model has, each once.
    package var weights: [Weight] {
        [embedding] + (positions.map { [$0] } ?? []) + blocks.flatMap(\.weights) + finalNorm.weights
            + (head.map { [$0] } ?? [])
    }

    /// The head's tensor: its own, or the embedding.
    package var headWeight: Weight { head ?? embedding }

    /// True when the embedding is the head too.
    package var isTied: Bool { head == nil }
}
