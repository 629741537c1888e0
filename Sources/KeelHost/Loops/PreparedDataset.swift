import KeelBridge
import KeelCore
import KeelData
import KeelTensor

/// What a `prepare` over all rows of a phase gave: one number per row and column, and which rows it keeps.
struct PreparedDataset {
    private let given: [String: Column]
    /// The rows whose weight is not 0, in order.
    let kept: [Int]

    /// Runs the objective's `prepare` once over all rows.
    ///
    /// It sees `[N]` columns only: what follows from tokens and data, and sequence columns of policy,
    /// heads and reference, which are computed when it asks for them.
    ///
    /// - Parameter mayKeepNone: rows of an evaluation may all be filtered.
    /// - Throws: `KeelError` (badData) when no row is kept.
    static func make(
        _ offline: OfflineRows, update: PolicyUpdate,
        reference: ReferenceLogprobs?, context: CallContext, mayKeepNone: Bool = false
    ) throws -> (dataset: PreparedDataset, reported: MetricSums) {
        let rows = Array(offline.rows)
        var batch = offline.columns(of: Array(rows.indices), update.sides, isWhole: true)
        let before = Set(batch.columns.keys)
        let reported = try update.objective.prepare(
            &batch, source: source(rows, update, reference), context: context)
        let given = batch.columns.filter { !before.contains($0.key) }
        let component = update.objective.component
        for (name, column) in given where column.shape != [rows.count] {
            throw KeelError(
                "plugin",
                "\(component.title) gives \"\(name)\" of shape \(column.shape) for the whole data set; "
                    + "[\(rows.count)] is what it may give there",
                at: component.path, code: .failed)
        }
        let dataset = PreparedDataset(given: given, rows: rows.count)
        guard mayKeepNone || !dataset.kept.isEmpty else {
            throw KeelError(
                "data",
                "\(component.title) keeps none of the \(rows.count) rows: every weight is 0",
                at: component.path,
                fix: "look at the rows' rewards and values, or turn the objective's filter off",
                code: .badData)
        }
        return (dataset, reported)
    }

    private init(given: [String: Column], rows: Int) {
        self.given = given
        let weights = given["weight"]?.values
        kept = (0..<rows).filter { weights == nil || weights?[$0] != 0 }
    }

    /// The columns of some rows.
    func columns(of places: [Int]) -> [String: Column] {
        given.mapValues { column in
            switch column.storage {
            case .doubles(let values): Column(places.map { values[$0] })
            case .ints(let values): Column(ints: places.map { values[$0] })
            }
        }
    }

    /// Sequence columns on demand: `[N]` each.
    private static func source(
        _ rows: [TokenizedRow], _ update: PolicyUpdate, _ reference: ReferenceLogprobs?
    ) -> ColumnSource {
        var names: Set<String> = []
        let available = update.networks.available
        if available.contains(.seqValues) { names.insert("seq_values") }
        for prefix in update.prefixes {
            if available.contains(.logprobs) {
                names.formUnion([prefix + "seq_logprobs", prefix + "mean_logprobs"])
            }
            if available.contains(.seqValues) { names.insert(prefix + "seq_values") }
            if available.contains(.scores) { names.insert(prefix + "scores") }
            if reference != nil {
                names.formUnion([prefix + "ref_seq_logprobs", prefix + "ref_mean_logprobs"])
            }
        }
        return ColumnSource(names) { name in
            let (prefix, base) = ColumnNames.split(name)
            let side = update.prefixes.firstIndex(of: prefix) ?? 0
            let masks = rows.map { $0.masks?[side] }
            let counts = zip(rows, masks).map { row, mask in
                Double(mask?.count { $0 } ?? row.completions[side].count)
            }
            /// The sum over what is trained.
            func sum(_ row: Int, _ cells: some Collection<Double>) -> Double {
                guard let mask = masks[row] else { return cells.reduce(0, +) }
                return zip(cells, mask).reduce(0) { $0 + ($1.1 ? $1.0 : 0) }
            }
            func reduced(_ sums: [Double]) -> Column {
                Column(
                    base.hasSuffix("mean_logprobs")
                        ? zip(sums, counts).map { $1 == 0 ? 0 : $0 / $1 } : sums)
            }
            if base.hasPrefix("ref_"), let reference {
                let all = try reference.logprobs(rows)
                return reduced(
                    rows.indices.map { row in
                        sum(row, all[row * update.prefixes.count + side].map(Double.init))
                    })
            }
            let isSum = base.hasSuffix("_logprobs")
            let column = try update.constants(isSum ? prefix + "logprobs" : name, of: rows)
            guard let column else {
                throw KeelError("train", "no column \"\(name)\" in this run", code: .internalBug)
            }
            guard isSum, column.shape.count == 2 else { return column }
            let (values, width) = (column.values, column.shape[1])
            // Cells past the end of a row are 0.
            return reduced(
                rows.indices.map { sum($0, values[$0 * width..<($0 + 1) * width]) })
        }
    }

    // MARK: State

    /// For a checkpoint; doubles keep every bit.
    var json: JSON {
        var batch = ColumnBatch(rows: 0)
        batch.columns = given
        return batch.columnsJSON
    }

    /// - Throws: `KeelError` (badData) for a state of another data set.
    init(rows: Int, json: JSON) throws {
        self.init(
            given: try ColumnBatch(rows: rows, columnsJSON: json).columns, rows: rows)
    }
}
