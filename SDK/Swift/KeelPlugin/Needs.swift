/// What an objective asks of the host: the kind of its data, and columns by name.
///
///     static let needs: Needs = [.pairs, .refSeqLogprobs]
///
/// With `.pairs` every column means both sides, `chosen.` and `rejected.`; `margin` and `weight` stand alone.
public struct Needs: ExpressibleByArrayLiteral, Sendable {
    /// One thing that is needed.
    public struct Item: Sendable, Equatable {
        enum Kind { case data, column, single }
        let kind: Kind
        let name: String

        /// A column by its name in the C interface; per side when the data are pairs.
        public static func column(_ name: String) -> Item { Item(kind: .column, name: name) }
        /// A column that is used when it is there.
        public static func optional(_ item: Item) -> Item {
            Item(kind: item.kind, name: item.name + "?")
        }
        /// A column of completions paired with other prompts of the batch (KTO's baseline).
        public static func mismatched(_ item: Item) -> Item {
            Item(kind: .single, name: "mismatched." + item.name)
        }

        /// Data: plain texts.
        public static let text = Item(kind: .data, name: "text")
        /// Data: a chosen and a rejected response to the same prompt.
        public static let pairs = Item(kind: .data, name: "pairs")
        /// Data: several responses to a prompt, ranked.
        public static let ranked = Item(kind: .data, name: "ranked")
        /// Data: responses with rewards.
        public static let scored = Item(kind: .data, name: "scored")
        /// Data: responses marked as wanted or not.
        public static let unpaired = Item(kind: .data, name: "unpaired")
        /// Data: responses that the policy itself wrote.
        public static let rollouts = Item(kind: .data, name: "rollouts")

        /// `[batch, time]`, log-probabilities under the policy; differentiable.
        public static let logprobs = column("logprobs")
        /// `[batch, time]`, under the reference.
        public static let refLogprobs = column("ref_logprobs")
        /// `[batch, time]`, under the policy when the response was sampled.
        public static let oldLogprobs = column("old_logprobs")
        /// `[batch]`, sums of `logprobs`; differentiable.
        public static let seqLogprobs = column("seq_logprobs")
        /// `[batch]`, sums of `refLogprobs`.
        public static let refSeqLogprobs = column("ref_seq_logprobs")
        /// `[batch]`, sums of `oldLogprobs`.
        public static let oldSeqLogprobs = column("old_seq_logprobs")
        /// `[batch]`, means of `logprobs`; differentiable.
        public static let meanLogprobs = column("mean_logprobs")
        /// `[batch, time]`, under the policy after the sampler's editing.
        public static let behaviorLogprobs = column("behavior_logprobs")
        /// `[batch, time]`, the mean log-probability over the vocabulary; differentiable.
        public static let vocabLogprobs = column("vocab_logprobs")
        /// `[batch, time]`, 1 on response tokens.
        public static let mask = column("mask")
        /// `[batch, time]`, ids of the response tokens.
        public static let tokens = column("tokens")
        /// `[batch, time]`, of the full next-token distribution; differentiable.
        public static let entropy = column("entropy")
        /// `[batch, time]`, of the critic or value head; differentiable.
        public static let values = column("values")
        /// `[batch, time]`, of the critic or value head when the response was sampled.
        public static let oldValues = column("old_values")
        /// `[batch]`, one value per prompt; differentiable.
        public static let seqValues = column("seq_values")
        /// `[batch]`, of a reward head; differentiable.
        public static let scores = column("scores")
        /// `[batch]`, from the reward plugins or the data.
        public static let rewards = column("rewards")
        /// `[batch, time]`, from rewards that judge tokens.
        public static let tokenRewards = column("token_rewards")
        /// `[batch]`, 1 for a wanted response, 0 for an unwanted one.
        public static let label = column("label")
        /// `[batch]`, tokens of the response.
        public static let length = column("length")
        /// `[batch]`, 1 where the response ended by itself.
        public static let finished = column("finished")
        /// `[batch, candidates]`, 0 is the best.
        public static let rank = column("rank")
        /// `[batch, candidates]`, 1 where there is one.
        public static let valid = column("valid")
        /// `[batch]`, multiplies a row's loss.
        public static let weight = Item(kind: .single, name: "weight")
        /// `[batch]`, the prompt a row belongs to.
        public static let group = column("group")
        /// `[batch]`, how much better the chosen side is.
        public static let margin = Item(kind: .single, name: "margin")
    }

    let items: [Item]

    /// Needs from a list of items.
    public init(arrayLiteral elements: Item...) { items = elements }

    /// The kind of data, "" when none is named.
    var data: String { items.first { $0.kind == .data }?.name ?? "" }

    /// The columns by their names in the C interface.
    var columns: [String] {
        let isPaired = data == "pairs"
        return items.flatMap { item -> [String] in
            switch item.kind {
            case .data: []
            case .single: [item.name]
            case .column: isPaired ? ["chosen." + item.name, "rejected." + item.name] : [item.name]
            }
        }
    }
}
