import KeelBridge
import KeelCore
import KeelData

/// The completions of a row as an objective sees them: one without a prefix, chosen and rejected, or the
/// candidates of a ranked list side by side in `[rows, candidates]` columns.
struct Sides: Equatable {
    /// Column prefixes; but for ranked lists, in the order of a row's completions.
    let prefixes: [String]
    /// Rows have lists of any length, and columns no tokens.
    let isRanked: Bool

    init(dataKind: String) {
        prefixes = dataKind == "pairs" ? ["chosen.", "rejected."] : [""]
        isRanked = dataKind == "ranked"
    }
}

extension Column {
    /// Rows of different lengths as `[rows, longest]`, the rest filled.
    static func padded(_ rows: [[Double]], width: Int? = nil, fill: Double = 0) -> Column {
        let width = width ?? rows.map(\.count).max() ?? 0
        var values: [Double] = []
        values.reserveCapacity(rows.count * width)
        for row in rows {
            values += row
            values += repeatElement(fill, count: width - row.count)
        }
        return Column(shape: [rows.count, width], values)
    }

    /// One number for each candidate, in the order of rows, as `[rows, candidates]`; the rest is 0.
    static func candidates(_ values: [Double], of valid: Column) -> Column {
        var cells = valid.values
        var next = 0
        for cell in cells.indices where cells[cell] != 0 {
            cells[cell] = values[next]
            next += 1
        }
        precondition(next == values.count, "\(values.count) numbers for \(next) candidates")
        return Column(shape: valid.shape, cells)
    }

    static func paddedInts(_ rows: [[Int32]], fill: Int32 = 0) -> Column {
        let width = rows.map(\.count).max() ?? 0
        return Column(
            shape: [rows.count, width],
            ints: rows.flatMap { $0 + [Int32](repeating: fill, count: width - $0.count) })
    }
}

extension ColumnBatch {
    /// The columns that follow from the tokens alone: mask, tokens, length, for every side.
    static func tokens(of rows: [TokenizedRow], prefixes: [String]) -> ColumnBatch {
        var batch = ColumnBatch(rows: rows.count)
        for (side, prefix) in prefixes.enumerated() {
            let completions = rows.map { $0.completions[side] }
            batch.columns[prefix + "mask"] = .padded(
                rows.map { row in row.mask(side).map { $0 ? 1 : 0 } })
            batch.columns[prefix + "tokens"] = .paddedInts(completions)
            batch.columns[prefix + "length"] = Column(ints: completions.map { Int32($0.count) })
        }
        batch.rowIDs = rows.map { UInt64($0.index) }
        batch.tokens = rows.map { $0.prompt + ($0.completions.first ?? []) }
        batch.promptLengths = rows.map(\.prompt.count)
        return batch
    }

    /// The columns that follow from the tokens of ranked lists: valid, length, `[rows, candidates]`.
    static func candidates(of rows: [TokenizedRow]) -> ColumnBatch {
        var batch = ColumnBatch(rows: rows.count)
        batch.columns["valid"] = .padded(
            rows.map { [Double](repeating: 1, count: $0.completions.count) })
        batch.columns["length"] = .paddedInts(
            rows.map { $0.completions.map { Int32($0.count) } })
        batch.rowIDs = rows.map { UInt64($0.index) }
        batch.tokens = rows.map { $0.prompt + ($0.completions.first ?? []) }
        batch.promptLengths = rows.map(\.prompt.count)
        return batch
    }

    /// The columns that follow from the tokens alone.
    static func tokens(of rows: [TokenizedRow], _ sides: Sides) -> ColumnBatch {
        sides.isRanked ? candidates(of: rows) : tokens(of: rows, prefixes: sides.prefixes)
    }

    /// The columns that a data sampler may order rows by: their `length`, for every side; of ranked lists the
    /// longest candidate's.
    static func lengths(of rows: [RowShape], _ sides: Sides) -> [String: Column] {
        if sides.isRanked {
            let longest = rows.map { Int32($0.completions.max() ?? 0) }
            return ["length": Column(ints: longest)]
        }
        var columns: [String: Column] = [:]
        for (side, prefix) in sides.prefixes.enumerated() {
            columns[prefix + "length"] = Column(
                ints: rows.map { Int32($0.completions[side]) })
        }
        return columns
    }

    /// Adds what lists of token values, in the order of rows and completions, give: `[B,T]` columns, one per side;
    /// of ranked lists `seq_` and `mean_` columns, `[B,K]`.
    mutating func addTokenColumn(_ name: String, _ values: [[Double]], _ sides: Sides) {
        guard sides.isRanked else {
            return addTokenColumn(name, values, prefixes: sides.prefixes)
        }
        let base = "logprobs"
        guard name.hasSuffix(base), let valid = columns["valid"] else { return }
        let before = name.dropLast(base.count)
        let sums = values.map { $0.reduce(0, +) }
        let means = zip(sums, values).map { $1.isEmpty ? 0 : $0 / Double($1.count) }
        columns[before + "seq_logprobs"] = .candidates(sums, of: valid)
        columns[before + "mean_logprobs"] = .candidates(means, of: valid)
    }

    /// Adds `[B,T]` columns, one per side, from lists in the order of rows and sides.
    mutating func addTokenColumn(_ name: String, _ values: [[Double]], prefixes: [String]) {
        for (side, prefix) in prefixes.enumerated() {
            let own = stride(from: side, to: values.count, by: prefixes.count).map { values[$0] }
            columns[prefix + name] = .padded(own, width: columns[prefix + "mask"]?.shape.last)
        }
    }
}

// MARK: - State: columns and rows in a checkpoint

extension ColumnBatch {
    /// The columns as JSON; doubles keep every bit.
    var columnsJSON: JSON {
        .object(
            JSONObject(
                pairs: columns.sorted { $0.key < $1.key }.map { name, column in
                    let cells: JSON =
                        switch column.storage {
                        case .doubles(let values): .array(values.map { .double($0) })
                        case .ints(let values): .array(values.map { .int(Int64($0)) })
                        }
                    let kind: JSON = column.isInteger ? "i32" : "f64"
                    return (
                        name,
                        [
                            "shape": .array(column.shape.map { JSON($0) }), "type": kind,
                            "data": cells,
                        ]
                    )
                }))
    }

    /// - Throws: `KeelError` (badData) for a state that is not one of ours.
    init(rows: Int, columnsJSON: JSON) throws {
        self.init(rows: rows)
        for (name, value) in columnsJSON.object ?? JSONObject() {
            let shape = (value["shape"]?.array ?? []).compactMap(\.int)
            let cells = value["data"]?.array ?? []
            guard shape.reduce(1, *) == cells.count, shape.first == rows else {
                throw KeelError(
                    "checkpoint", "column \"\(name)\" of the rollout does not fit its rows",
                    at: CheckpointStore.stateFile, fix: "resume from another checkpoint",
                    code: .badData)
            }
            if value["type"]?.string == "i32" {
                columns[name] = Column(
                    shape: shape, ints: cells.map { Int32(clamping: $0.int ?? 0) })
            } else {
                columns[name] = Column(shape: shape, cells.map(\.stateDouble))
            }
        }
    }
}

extension JSON {
    /// A number that `text()` may have written as "nan", "inf" or "-inf".
    fileprivate var stateDouble: Double {
        double ?? string.flatMap(Double.init) ?? .nan
    }
}

extension TokenizedRow {
    var json: JSON {
        let ids = { (list: [Int32]) in JSON.array(list.map { .int(Int64($0)) }) }
        return [
            "index": JSON(index), "prompt": ids(prompt),
            "completions": .array(completions.map(ids)), "sibling": JSON(sibling),
        ]
    }

    /// - Throws: `KeelError` (badData) for a state that is not one of ours.
    init(json: JSON) throws {
        let ids = { (list: JSON) in
            (list.array ?? []).compactMap { $0.int.flatMap(Int32.init(exactly:)) }
        }
        guard let index = json["index"]?.int, let prompt = json["prompt"],
            let lists = json["completions"]?.array
        else {
            throw KeelError(
                "checkpoint", "a row of the rollout cannot be read", at: CheckpointStore.stateFile,
                fix: "resume from another checkpoint", code: .badData)
        }
        self.init(index: index, prompt: ids(prompt), completions: lists.map(ids))
        sibling = json["sibling"]?.int ?? 0
    }
}

extension Instance.State {
    /// A plugin's state: its version, and its bytes in hexadecimal.
    var json: JSON {
        let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        return ["version": .int(Int64(version)), "bytes": .string(digits)]
    }

    /// nil when there is none.
    init?(json: JSON?) {
        guard let digits = json?["bytes"]?.string.map({ Array($0.utf8) }),
            let version = json?["version"]?.int
        else {
            return nil
        }
        let bytes = stride(from: 0, to: digits.count - digits.count % 2, by: 2).compactMap {
            UInt8(String(decoding: digits[$0..<$0 + 2], as: UTF8.self), radix: 16)
        }
        self.init(version: UInt32(clamping: version), bytes: bytes)
    }
}

// MARK: - Parts of a batch

extension ColumnBatch {
    /// The rows of a range, with all their columns.
    func slice(_ range: Range<Int>) -> ColumnBatch {
        var part = ColumnBatch(rows: range.count)
        for (name, column) in columns {
            let width = rows == 0 ? 0 : column.count / rows
            let cells = range.lowerBound * width..<range.upperBound * width
            let shape = [range.count] + column.shape.dropFirst()
            switch column.storage {
            case .doubles(let values):
                part.columns[name] = Column(shape: shape, Array(values[cells]))
            case .ints(let values):
                part.columns[name] = Column(shape: shape, ints: Array(values[cells]))
            }
        }
        part.text = text.mapValues { Array($0[range]) }
        if !rowJSON.isEmpty { part.rowJSON = Array(rowJSON[range]) }
        if !tokens.isEmpty { part.tokens = Array(tokens[range]) }
        if !promptLengths.isEmpty { part.promptLengths = Array(promptLengths[range]) }
        if !rowIDs.isEmpty { part.rowIDs = Array(rowIDs[range]) }
        return part
    }
}
