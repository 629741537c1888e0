import KeelCore

/// How the host makes one number of unreduced losses.
package enum Reduction: String, Sendable, CaseIterable {
    /// Σ over rows of the row's loss (a token loss: the sum over its tokens) / live rows.
    case rowMean = "row_mean"
    /// Σ over tokens / trained tokens of live rows.
    case tokenMean = "token_mean"
    /// Σ over rows of the mean over the row's tokens / live rows.
    case rowMeanOfTokenMean = "row_mean_of_token_mean"
    /// Σ / a fixed number.
    case constant

    /// - Throws: `KeelError` naming the nearest known reduction.
    package init(named name: String, at place: String? = nil) throws {
        guard let known = Reduction(rawValue: name) else {
            let names = Reduction.allCases.map(\.rawValue)
            let near = nearest(name, among: names).map { "did you mean \"\($0)\"? " } ?? ""
            throw KeelError(
                "plugin", "unknown reduction \"\(name)\"", at: place,
                fix: near + "known: \(names.joined(separator: ", "))")
        }
        self = known
    }

    /// What a batch adds to the denominators.
    ///
    /// Sum it over micro-batches and ranks, then evaluate.
    package static func denominator(of batch: ColumnBatch) -> Denominator {
        let live = LiveRows(batch)
        return Denominator(
            rows: Double(live.isLive.lazy.filter { $0 }.count), tokens: live.tokens,
            groups: Double(live.liveGroups))
    }

    /// The number that the sum of losses is divided by; at least 1, so that an empty batch gives 0.
    func divisor(_ denominator: Denominator, perGroup: Bool, constant: Double) -> Double {
        switch self {
        case .constant: constant
        case .tokenMean where !perGroup: max(denominator.tokens, 1)
        default: max(perGroup ? denominator.groups : denominator.rows, 1)
        }
    }
}

/// Counts of what takes part in a loss, over a micro-batch or a whole optimizer step.
package struct Denominator: Sendable, Equatable {
    /// Rows with a weight that is not 0 and a trained token on every side.
    package var rows: Double
    /// Trained tokens of those rows, all sides.
    package var tokens: Double
    /// Groups that hold such a row.
    package var groups: Double

    package init(rows: Double = 0, tokens: Double = 0, groups: Double = 0) {
        self.rows = rows
        self.tokens = tokens
        self.groups = groups
    }

    package static func + (a: Denominator, b: Denominator) -> Denominator {
        Denominator(rows: a.rows + b.rows, tokens: a.tokens + b.tokens, groups: a.groups + b.groups)
    }

    package static func += (a: inout Denominator, b: Denominator) { a = a + b }
}

/// Which rows and cells of a batch count.
package struct LiveRows: Sendable {
    /// Per row: weight not 0, a trained token on every side.
    package let isLive: [Bool]
    /// Per row: the factor of its loss; 1 without a `weight` column.
    package let weights: [Double]
    /// Trained tokens of live rows, all sides.
    package let tokens: Double
    /// Row numbers of each group, in order of first appearance; empty without a `group` column.
    package let groups: [[Int]]

    package var liveGroups: Int { groups.lazy.filter { $0.contains { isLive[$0] } }.count }

    package init(_ batch: ColumnBatch) {
        let rows = batch.rows
        var live = [Bool](repeating: true, count: rows)
        var weights = [Double](repeating: 1, count: rows)
        if let column = batch.columns["weight"], column.shape.first == rows {
            weights = Array(column.values.prefix(rows))
            for row in 0..<rows { live[row] = weights[row] != 0 }
        }
        var counts = [Double](repeating: 0, count: rows)
        for name in ["mask", "chosen.mask", "rejected.mask"] {
            guard let mask = batch.columns[name], mask.shape.first == rows, rows > 0 else {
                continue
            }
            let marks = mask.values
            let width = marks.count / rows
            for row in 0..<rows {
                let trained = marks[row * width..<(row + 1) * width].lazy.filter { $0 != 0 }.count
                if trained == 0 { live[row] = false }
                counts[row] += Double(trained)
            }
        }
        if let valid = batch.columns["valid"], valid.shape.count == 2, rows > 0 {
            // Ranked lists have no masks: their candidates' lengths count.
            let marks = valid.values
            let width = marks.count / rows
            let lengths = batch.columns["length"].flatMap {
                $0.shape == valid.shape ? $0.values : nil
            }
            for row in 0..<rows {
                let range = row * width..<(row + 1) * width
                if !range.contains(where: { marks[$0] != 0 }) { live[row] = false }
                for cell in range where marks[cell] != 0 { counts[row] += lengths?[cell] ?? 0 }
            }
        }
        var tokens = 0.0
        for row in 0..<rows where live[row] { tokens += counts[row] }
        var groups: [[Int]] = []
        if let group = batch.columns["group"], group.shape == [rows] {
            var index: [Double: Int] = [:]
            for (row, id) in group.values.enumerated() {
                if let at = index[id] {
                    groups[at].append(row)
                } else {
                    index[id] = groups.count
                    groups.append([row])
                }
            }
        }
        isLive = live
        self.weights = weights
        self.tokens = tokens
        self.groups = groups
    }
}
