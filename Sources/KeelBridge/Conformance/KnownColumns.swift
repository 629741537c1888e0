import KeelCore

/// The vocabulary of columns that a component may need.
enum KnownColumns {
    /// Texts, one per row.
    static let texts: Set<String> = ["prompt", "response", "row", "reply", "ask"]

    /// Columns by their base name; `chosen.`, `rejected.` and `mismatched.` may stand before.
    static let names: Set<String> = ColumnNames.differentiable.union(ColumnNames.structural).union([
        "ref_logprobs", "old_logprobs", "behavior_logprobs", "old_values", "token_rewards",
        "ref_seq_logprobs", "old_seq_logprobs", "behavior_seq_logprobs", "ref_mean_logprobs",
        "old_mean_logprobs", "behavior_mean_logprobs", "rewards", "label", "margin", "rank",
        "model_scores", "sft_index", "advantages", "returns", "shaped_rewards",
        "ref_vocab_logprobs", "prompt_length", "bootstrap_values", "greedy_rewards",
    ])

    /// Whether a name that a component needs means something.
    static func isKnown(_ name: String, gives: [String]) -> Bool {
        if gives.contains(name) || texts.contains(name) { return true }
        let (prefix, base) = ColumnNames.split(name)
        let isPrefixKnown =
            prefix.isEmpty || ColumnNames.sides.contains(String(prefix.dropLast()))
        return isPrefixKnown && (names.contains(base) || texts.contains(base))
    }

    static func near(_ name: String) -> String? {
        let (prefix, base) = ColumnNames.split(name)
        return nearest(base, among: names.union(texts).sorted()).map { prefix + $0 }
    }
}
