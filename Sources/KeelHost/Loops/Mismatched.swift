import KeelBridge
import KeelCore
import KeelData

/// Completions behind other prompts than their own: what KTO's baseline is measured on.
///
/// Row i of a step keeps its prompt and gets the completion of the next row of the step, round about, that has
/// another prompt; where the step has none, of the next row of the data set.
struct Mismatched {
    static let prefix = "mismatched."

    private let rows: OfflineRows
    /// Tokens of prompt and completion together.
    private let maxLength: Int

    init(_ rows: OfflineRows, maxLength: Int) {
        self.rows = rows
        self.maxLength = maxLength
    }

    /// Whether an objective asks for such columns.
    static func areNeeded(_ needs: [String]) -> Bool {
        needs.contains { ColumnNames.split($0).prefix == prefix }
    }

    /// - Throws: `KeelError` (badData) when all rows have the same prompt.
    static func check(_ rows: TokenizedRows, at path: String) throws {
        guard let first = rows.first, !rows.contains(where: { $0.prompt != first.prompt }) else {
            return
        }
        throw KeelError(
            "data",
            "the objective compares with completions of other prompts, and all \(rows.count) rows have the same",
            at: path, fix: "give rows with at least two different prompts", code: .badData)
    }

    /// The rows at some places, each with a completion that belongs to another prompt; cut where it would be
    /// too long.
    func rows(of places: [Int]) -> [TokenizedRow] {
        places.enumerated().map { number, place in
            var row = rows.rows[place]
            let inStep = (1..<max(1, places.count)).lazy.map {
                places[(number + $0) % places.count]
            }
            let inData = (1..<max(1, rows.count)).lazy.map { (place + $0) % rows.count }
            let isOther = { rows.rows[$0].prompt != row.prompt }
            let other = inStep.first(where: isOther) ?? inData.first(where: isOther) ?? place
            let room = max(1, maxLength - row.prompt.count)
            row.completions = [Array(rows.rows[other].completions[0].prefix(room))]
            row.masks = rows.rows[other].masks.map { [Array($0[0].prefix(room))] }
            return row
        }
    }

    /// What `prepare` may ask for beside the columns of another source.
    ///
    /// - Parameter needs: of the objective: nothing else is computed.
    func source(
        of places: [Int], beside other: ColumnSource, needs: [String], update: PolicyUpdate,
        reference: ReferenceLogprobs?
    ) -> ColumnSource {
        let wanted = Set(needs.map { $0.hasSuffix("?") ? String($0.dropLast()) : $0 })
        var own: [String: String] = [:]
        for name in wanted where ColumnNames.split(name).prefix == Mismatched.prefix {
            own[name] = ColumnNames.split(name).base
        }
        let single = Sides(dataKind: "unpaired")
        let made = rows(of: places)
        return ColumnSource(other.names.union(own.keys)) { name in
            guard let base = own[name] else { return try other.column(named: name) }
            var batch = ColumnBatch.tokens(of: made, single)
            if base.hasPrefix("ref_"), let reference {
                let logprobs = try reference.logprobsOnce(made).map { $0.map(Double.init) }
                batch.addTokenColumn("ref_logprobs", logprobs, single)
            } else if let column = try update.constants("logprobs", of: made) {
                batch.columns["logprobs"] = column
            }
            guard let column = batch.column(base) else {
                throw KeelError("train", "no column \"\(name)\" in this run", code: .internalBug)
            }
            return column
        }
    }
}
