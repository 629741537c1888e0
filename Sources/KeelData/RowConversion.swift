import KeelCore

/// How rows of one kind serve where another is wanted.
///
/// A conversion leaves out what the other kind has no place for, and says so; it never makes anything up: a label
/// out of a reward, or a pair out of two rows, is for the user to decide.
struct RowConversion: Sendable {
    /// What the rows are given out as.
    let kind: RowKind
    /// For the log; nil where nothing is converted.
    let note: String?
    /// The rows that one row of the file becomes.
    let apply: @Sendable (RowContent) -> [RowContent]

    private init(
        _ kind: RowKind, _ note: String? = nil,
        apply: @escaping @Sendable (RowContent) -> [RowContent] = { [$0] }
    ) {
        self.kind = kind
        self.note = note
        self.apply = apply
    }

    /// nil where rows of the kind cannot serve.
    init?(_ found: RowKind, to wanted: RowKind) {
        switch (found, wanted) {
        case (.text, .text), (.promptCompletion, .text), (.promptCompletion, .promptCompletion),
            (.prompt, .prompt), (.preference, .preference), (.unpaired, .unpaired),
            (.scored, .scored), (.ranked, .ranked):
            self.init(found)
        case (.promptCompletion, .prompt), (.preference, .prompt), (.unpaired, .prompt),
            (.scored, .prompt), (.ranked, .prompt):
            self.init(
                .prompt, "only the prompts of the rows are used; answers stay visible to rewards"
            ) { [RowContent(texts: $0.texts.picking([]), values: $0.values)] }
        case (.preference, .text), (.preference, .promptCompletion):
            self.init(
                .promptCompletion,
                "pairs are used as prompts with the chosen answer; the rejected one is left out"
            ) { [$0.part(0)] }
        case (.ranked, .text), (.ranked, .promptCompletion):
            self.init(
                .promptCompletion,
                "ranked lists are used as prompts with the best completion; the others are left out"
            ) { [$0.part($0.values.sftIndex ?? 0)] }
        case (.scored, .text), (.scored, .promptCompletion):
            self.init(.promptCompletion, "the rewards of the rows are not used")
        case (.unpaired, .text), (.unpaired, .promptCompletion):
            self.init(
                .promptCompletion,
                "completions with the label true are used; those with false are left out"
            ) { $0.values.label == false ? [] : [$0] }
        case (.preference, .unpaired):
            self.init(
                .unpaired,
                "each pair is used as two rows: the chosen answer with the label true, "
                    + "the rejected one with false"
            ) { pair in
                [true, false].enumerated().map { side, label in
                    var part = pair.part(side)
                    part.values.label = label
                    return part
                }
            }
        case (.preference, .scored):
            self.init(.scored, "each pair is used as two rows, one for each answer") {
                [$0.part(0), $0.part(1)]
            }
        case (.ranked, .scored):
            self.init(.scored, "each completion of a ranked list is used as a row") { row in
                row.texts.completions.indices.map { row.part($0) }
            }
        case (.preference, .ranked):
            self.init(.ranked, "pairs are used as ranked lists of two")
        case (.ranked, .preference):
            self.init(
                .preference,
                "ranked lists are used as all their pairs; completions with equal scores make none",
                apply: RowConversion.pairs)
        default: return nil
        }
    }

    /// All pairs of a ranked row: better before worse.
    private static func pairs(_ row: RowContent) -> [RowContent] {
        let completions = row.texts.completions
        let ranks = row.values.ranks(completions.count)
        return completions.indices.flatMap { better in
            completions.indices.compactMap { worse -> RowContent? in
                guard ranks[better] < ranks[worse] else { return nil }
                var values = RowValues()
                values.rewards = row.values.rewards.map { [$0[better], $0[worse]] }
                values.seqValue = row.values.seqValue
                return RowContent(texts: row.texts.picking([better, worse]), values: values)
            }
        }
    }

    /// Why rows that carry something else cannot serve, and what to do.
    static func refusal(_ found: RowKind, to wanted: RowKind) -> (what: String, fix: String) {
        let fix =
            switch wanted {
            case .preference:
                "put two answers to one prompt into a row: \"prompt\", \"chosen\", \"rejected\""
            case .unpaired: "add \"label\": true or false to every row"
            case .ranked:
                "put the answers to one prompt into a row: \"prompt\", \"completions\": [...], \"scores\": [...]"
            case .scored: "give rows with \"prompt\" and \"completion\""
            default:
                "give rows with \(wanted.fields.needed.map { "\"\($0)\"" }.joined(separator: ", "))"
            }
        return (
            "\(found.title) cannot be used as \(wanted.title): what is missing would have to be made up",
            fix
        )
    }
}

extension RowContent {
    /// One completion of the row, with what belongs to it.
    func part(_ index: Int) -> RowContent {
        var own = values
        own.rewards = values.rewards.map { [$0[index]] }
        own.margin = nil
        own.sftIndex = nil
        own.order = nil
        return RowContent(texts: texts.picking([index]), values: own)
    }
}
