import KeelBridge
import KeelCore
import KeelData

/// The rows of an offline phase: their tokens, and what the data says of them.
struct OfflineRows {
    let rows: TokenizedRows
    /// By the rows' numbers.
    let values: DatasetValues
    /// The data set row behind a number.
    let raw: (Int) -> JSON
    /// The prompt behind a number as rewards read it, where that is another than the tokens' text.
    private let spoken: (Int) -> String?
    /// The prompt each row belongs to, by the rows' places; empty where nobody asks.
    private(set) var groups: [Int32] = []

    /// - Parameter values: of all rows of the file; empty = nothing is said of any.
    init(
        rows: TokenizedRows, values: DatasetValues = DatasetValues(),
        spoken: @escaping (Int) -> String? = { _ in nil }, raw: @escaping (Int) -> JSON
    ) {
        self.rows = rows
        self.values = values
        self.spoken = spoken
        self.raw = raw
    }

    /// The rows of a part of a data set.
    init(_ part: RunData.Part) {
        let rows = part.rows
        self.init(
            rows: part.tokens.rows, values: part.values, spoken: { rows.spokenPrompt($0) },
            raw: { rows.row($0) })
    }

    /// The prompts of the first rows, to be completed.
    func prompts(_ count: Int) -> [Prompt] {
        rows.prefix(count).map {
            Prompt(row: $0.index, tokens: $0.prompt, json: raw($0.index), text: spoken($0.index))
        }
    }

    static var none: OfflineRows { OfflineRows(rows: TokenizedRows()) { _ in .null } }

    /// The same rows, with the prompts that they have in common numbered.
    func grouped() -> OfflineRows {
        var known: [[Int32]: Int32] = [:]
        var copy = self
        copy.groups = rows.map { row in
            let group = known[row.prompt] ?? Int32(known.count)
            known[row.prompt] = group
            return group
        }
        return copy
    }

    var count: Int { rows.count }

    subscript(places: [Int]) -> [TokenizedRow] { places.map { rows[$0] } }

    /// The rows at some places as constants: tokens and lengths, what the data says, the data set rows.
    ///
    /// - Parameters:
    ///   - isWhole: `[N]` and `[N,K]` columns only, for a `prepare` over the whole data set.
    func columns(of places: [Int], _ sides: Sides, isWhole: Bool = false) -> ColumnBatch {
        let chosen = self[places]
        var batch: ColumnBatch
        if isWhole, !sides.isRanked {
            batch = ColumnBatch(rows: chosen.count)
            for (side, prefix) in sides.prefixes.enumerated() {
                batch.columns[prefix + "length"] = Column(
                    ints: chosen.map { Int32($0.completions[side].count) })
            }
            batch.rowIDs = chosen.map { UInt64($0.index) }
            batch.tokens = chosen.map { $0.prompt + ($0.completions.first ?? []) }
            batch.promptLengths = chosen.map(\.prompt.count)
        } else {
            batch = .tokens(of: chosen, sides)
        }
        batch.columns.merge(dataColumns(of: places, sides)) { $1 }
        batch.rowJSON = chosen.map { raw($0.index) }
        return batch
    }

    /// What the data says of the rows at some places.
    func dataColumns(of places: [Int], _ sides: Sides) -> [String: Column] {
        var columns: [String: Column] = [:]
        if !groups.isEmpty { columns["group"] = Column(ints: places.map { groups[$0] }) }
        guard !values.isEmpty else { return columns }
        let own = places.map { values[rows.index(of: $0)] }
        func all<T>(_ value: (RowValues) -> T?) -> [T]? {
            let list = own.compactMap(value)
            return list.count == own.count ? list : nil
        }
        if let labels = all(\.label) { columns["label"] = Column(labels.map { $0 ? 1 : 0 }) }
        if let list = all(\.seqValue) { columns["seq_values"] = Column(list) }
        if sides.isRanked {
            let counts = places.map { rows.shape(of: $0).completions.count }
            columns["rank"] = .paddedInts(zip(own, counts).map { $0.ranks($1).map { Int32($0) } })
            columns["sft_index"] = Column(ints: own.map { Int32($0.sftIndex ?? 0) })
            if let rewards = all(\.rewards) { columns["rewards"] = .padded(rewards) }
        } else {
            if sides.prefixes.count == 2, own.contains(where: { $0.margin != nil }) {
                columns["margin"] = Column(own.map { $0.margin ?? 0 })
            }
            if let rewards = all(\.rewards) {
                for (side, prefix) in sides.prefixes.enumerated() {
                    columns[prefix + "rewards"] = Column(rewards.map { $0[side] })
                }
            }
        }
        return columns
    }

    /// The columns that a data sampler may order rows by: `[N]` each.
    func orderColumns(of places: [Int], _ sides: Sides) -> [String: Column] {
        let shapes = places.map { rows.shape(of: $0) }
        var columns = ColumnBatch.lengths(of: shapes, sides)
        columns["prompt_length"] = Column(ints: shapes.map { Int32($0.prompt) })
        for (name, column) in dataColumns(of: places, sides) where column.shape.count == 1 {
            columns[name] = column
        }
        return columns
    }

    /// The columns of a kind of data beyond those of its tokens.
    static func known(dataKind: String) -> [String] {
        switch dataKind {
        case "pairs": ["margin", "rewards", "group"]
        case "ranked": ["rewards", "rank", "valid", "sft_index", "group"]
        case "scored": ["rewards", "group"]
        case "unpaired": ["label", "rewards", "group"]
        default: ["group"]
        }
    }
}
