import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelText

/// The rows of a run as the phases of one data kind see them.
struct RunData {
    /// A data file: its rows, their tokens, and what is said of them.
    struct Part {
        let rows: Dataset
        var tokens: TokenizedDataset
        /// By the rows' numbers.
        var values: DatasetValues

        /// What became of the rows: in the file's terms, as metrics are named.
        var counts: [(String, Int)] {
            let found = tokens.counts
            return [
                ("rows", rows.count), ("used", tokens.rows.count),
                ("dropped_empty", found.droppedEmptyAnswer + found.droppedEmptyPrompt),
                ("dropped_long_prompt", found.droppedLongPrompt),
                ("dropped_no_reward", rows.count - found.dropped - tokens.rows.count),
                ("truncated", found.truncated),
            ]
        }

        var metrics: [(String, Double)] { counts.map { ("data/\($0)", Double($1)) } }

        /// What `data.reward_transform` says, once.
        fileprivate mutating func transform(_ choice: RewardTransformChoice) {
            guard choice != .none else { return }
            for index in tokens.rows.indexes {
                values[index].rewards = values[index].rewards?.map { choice($0) }
            }
        }

        /// What plugins may ask of the rows: how many are wanted, and how many are not.
        var facts: [String: Double] {
            let labels = tokens.rows.indexes.compactMap { values[$0].label }
            guard !labels.isEmpty else { return [:] }
            let wanted = Double(labels.count { $0 })
            return [
                "desirable_rows": wanted, "undesirable_rows": Double(labels.count) - wanted,
            ]
        }

        /// For an offline loop.
        var offline: OfflineRows { OfflineRows(self) }
    }

    var train: Part
    var valid: Part?
    /// What was done to the rows.
    var notes: [String]
    /// Name -> SHA-256 of the files.
    let hashes: [(String, String)]
    /// Of phases that name this kind: `text`, `pairs`, `ranked`, `scored`, `unpaired`, `rollouts`.
    let kind: String

    /// Reads and tokenises the data files of a config.
    ///
    /// - Parameter kind: as objectives name them.
    /// - Throws: `KeelError` for rows that cannot be read, or when none is left.
    init(_ config: RunConfig, kind: String, component: Component, tokenizer: Tokenizer) throws {
        self.kind = kind
        let isOnline = kind == "rollouts"
        let wanted = try RunData.rowKind(kind, component)
        let limits = RunData.limits(config, kind: kind)
        let conversation = try Conversation(
            RunData.template(config, tokenizer), tokenizer: tokenizer,
            trained: isOnline ? .assistant : TrainedPart(config.data.trainOn))
        let cache = Files.userFolder("XDG_CACHE_HOME", ".cache")
        var notes: [String] = []
        var hashes: [(String, String)] = []
        func load(_ path: String, _ name: String) throws -> Part {
            let rows = try Dataset.load(
                path: path, wanted: wanted, columns: config.data.renames,
                layout: RowLayout(config.data.type), conversation: conversation)
            let tokens = try TokenizedDataset.tokenize(
                rows, tokenizer: tokenizer, limits: limits, cacheDirectory: cache)
            notes += (rows.notes + tokens.notes).map { "data.\(name): \($0)" }
            hashes.append((name, rows.contentHash))
            guard !tokens.rows.isEmpty else {
                throw KeelError(
                    "data", "no row is left after tokenising (\(tokens.counts.dropped) dropped)",
                    at: path,
                    fix: "raise data.max_length, or look at the rows", code: .badData)
            }
            return Part(rows: rows, tokens: tokens, values: rows.values)
        }
        train = try load(config.data.train, "train")
        valid = try config.data.valid.map { try load($0, "valid") }
        self.notes = notes
        self.hashes = hashes
    }

    /// The chat template of the config, else of the model's folder; nil where there is none.
    static func template(_ config: RunConfig, _ tokenizer: Tokenizer) throws -> ChatTemplate? {
        try ChatTemplate.load(
            directory: config.model.path, tokenizer: tokenizer, file: config.data.chatTemplate)
    }

    static func limits(_ config: RunConfig, kind: String) -> LengthLimits {
        var limits = LengthLimits(
            maxLength: config.data.maxLength, maxPromptLength: config.data.maxPromptLength,
            maxCompletionLength: kind == "rollouts" ? nil : config.data.maxCompletionLength)
        limits.keepsPromptEnd = config.data.truncationSide == .left
        limits.keepsAnswerStart = config.data.completionTruncationSide == .right
        limits.trainsPrompt = kind == "text" && config.data.trainOn == .all
        return limits
    }

    private static func rowKind(_ dataKind: String, _ component: Component) throws -> RowKind {
        switch dataKind {
        case "text": return .text
        case "pairs": return .preference
        case "scored": return .scored
        case "unpaired": return .unpaired
        case "ranked": return .ranked
        case "rollouts": return .prompt
        default:
            throw KeelError(
                "plugin", "objective \"\(component.name)\" takes data of kind \"\(dataKind)\"",
                at: component.path,
                fix: "this Keel trains on text, pairs, ranked, scored, unpaired and rollouts",
                code: .unavailable)
        }
    }

    /// What became of the rows of each file, for the manifest.
    var counts: [(String, JSON)] {
        [("train", RunData.json(train))] + (valid.map { [("valid", RunData.json($0))] } ?? [])
    }

    private static func json(_ part: Part) -> JSON {
        .object(JSONObject(pairs: part.counts.map { ($0, JSON($1)) }))
    }

    /// Gives the rows their rewards, where the objective needs any.
    ///
    /// - Throws: as `RowRewards.give`.
    mutating func giveRewards(_ rewards: RowRewards) throws {
        try rewards.give(to: &train, name: "train", notes: &notes)
        train.transform(rewards.transform)
        if var part = valid {
            try rewards.give(to: &part, name: "valid", notes: &notes)
            part.transform(rewards.transform)
            valid = part
        }
        if rewards.transform != .none {
            notes.append("rewards pass through a \(rewards.transform.rawValue)")
        }
    }

    /// Rows that the model cannot take are refused before the run, not in its middle.
    ///
    /// - Parameter room: tokens that must fit behind a row: an answer's first.
    func check(fits model: Model, room: Int) throws {
        try RunData.check(train.tokens, of: train.rows, fits: model, room: room)
        if let valid {
            try RunData.check(valid.tokens, of: valid.rows, fits: model, room: room)
        }
    }

    private static func check(
        _ data: TokenizedDataset, of file: Dataset, fits model: Model, room: Int
    ) throws {
        var longest = 0
        for row in data.rows {
            longest = max(longest, row.prompt.count + (row.completions.map(\.count).max() ?? 0))
            for ids in [row.prompt] + row.completions {
                if let id = ids.first(where: { $0 < 0 || Int($0) >= model.vocabularySize }) {
                    throw KeelError(
                        "data",
                        "the tokenizer gives token id \(id), the model's vocabulary has \(model.vocabularySize)",
                        at: file.place(row.index),
                        fix: "use the tokenizer that came with the model", code: .badData)
                }
            }
        }
        guard longest + room <= model.contextLength else {
            throw KeelError(
                "data", "a row has \(longest) tokens, the model takes \(model.contextLength)",
                at: file.path, fix: "set data.max_length to \(model.contextLength) or less",
                code: .badData)
        }
    }
}

extension TrainedPart {
    init(_ choice: TrainOnChoice) {
        switch choice {
        case .assistant: self = .assistant
        case .all: self = .all
        case .last: self = .last
        }
    }
}

extension RowLayout {
    init(_ choice: DataTypeChoice) {
        switch choice {
        case .auto: self = .auto
        case .keel: self = .keel
        case .sharegpt: self = .sharegpt
        case .alpaca: self = .alpaca
        }
    }
}
