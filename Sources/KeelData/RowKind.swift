import KeelCore

/// What a row of a data file holds.
package enum RowKind: String, Sendable, CaseIterable {
    case text
    case prompt
    case promptCompletion = "prompt_completion"
    case preference
    /// A completion marked as wanted or not.
    case unpaired
    /// A completion with a reward, or one that rewards are to give it.
    case scored
    /// Several completions of a prompt, with scores or best first.
    case ranked

    /// The fields a row of this kind must have, or may have.
    var fields: (needed: [String], optional: [String]) {
        switch self {
        case .text: (["text"], [])
        case .prompt: (["prompt"], [])
        case .promptCompletion: (["prompt", "completion"], [])
        case .preference:
            (["chosen", "rejected"], ["prompt", "margin", "score_chosen", "score_rejected"])
        case .unpaired: (["prompt", "completion", "label"], [])
        case .scored: (["prompt", "completion"], ["reward", "rewards", "seq_values"])
        case .ranked: (["prompt", "completions"], ["scores", "sft_index"])
        }
    }

    /// How many completions a row of this kind has.
    var completions: ClosedRange<Int> {
        switch self {
        case .prompt: 0...0
        case .text, .promptCompletion, .unpaired, .scored: 1...1
        case .preference: 2...2
        case .ranked: 1...Int.max
        }
    }

    /// Names that `data.columns` may give to fields of a file.
    package static let fieldNames =
        Row.fields + [
            "messages", "conversations", "instruction", "input", "output", "margin", "seq_values",
            "sft_index", "score_chosen", "score_rejected", "chosen_score", "rejected_score",
        ]

    /// What a person calls rows of this kind.
    var title: String {
        switch self {
        case .text: "plain texts"
        case .prompt: "prompts"
        case .promptCompletion: "prompts with a completion"
        case .preference: "pairs"
        case .unpaired: "completions with a label"
        case .scored: "completions with a reward"
        case .ranked: "ranked lists"
        }
    }

    /// The kind that a row's fields announce: a misspelt or missing partner is the row's error.
    ///
    /// - Parameter wanted: decides where a completion carries both a label and a reward.
    init?(fieldsOf row: Row, wanted: RowKind) {
        if row.has("chosen") || row.has("rejected") {
            self = .preference
        } else if row.has("completions") {
            self = .ranked
        } else if row.has("completion") {
            let hasReward = row.has("reward") || row.has("rewards")
            if wanted == .unpaired {
                self = row.has("label") || !hasReward ? .unpaired : .scored
            } else if wanted == .scored {
                self = .scored
            } else {
                self = row.hasLabel ? .unpaired : hasReward ? .scored : .promptCompletion
            }
        } else if row.has("messages") {
            switch wanted {
            case .text: self = .text
            case .prompt: self = .prompt
            case .scored: self = .scored
            case .unpaired: self = .unpaired
            default: self = .promptCompletion
            }
        } else if row.has("text") {
            self = .text
        } else if row.has("prompt") {
            self = .prompt
        } else {
            return nil
        }
    }
}
