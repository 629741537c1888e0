import KeelTensor

/// Turns the unreduced loss of a micro-batch into one number, and says what flows back.
struct LossReducer {
    /// This micro-batch's part of the loss.
    private(set) var loss = 0.0
    /// What each row adds to the sum.
    private(set) var perRow: [Double]
    /// The gradient of `loss` by each cell of the plugin's tensor.
    private(set) var seed: [Double]
    private let live: LiveRows
    private let shape: [Int]

    init(
        _ call: Call, _ entry: TensorTable.Entry, reduction: Reduction, constant: Double,
        denominator: Denominator?
    ) throws(CallFailure) {
        let rows = call.batch.rows
        live = call.liveRows()
        shape = entry.tensor.shape
        let cells = entry.tensor.doubles()
        perRow = [Double](repeating: 0, count: rows)
        seed = [Double](repeating: 0, count: cells.count)
        let flags = call.instance.component.flags
        let own = Reduction.denominator(of: call.batch)
        let whole = denominator ?? own
        guard constant > 0 else {
            throw CallFailure(
                .invalid, "the reduction \"constant\" needs a positive denominator, not \(constant)"
            )
        }
        switch shape.count {
        case 1 where shape[0] == rows:
            let divisor = reduction.divisor(whole, perGroup: false, constant: constant)
            for row in 0..<rows where live.isLive[row] {
                perRow[row] = live.weights[row] * cells[row]
                seed[row] = live.weights[row] / divisor
            }
            loss = perRow.reduce(0, +) / divisor
        case 1 where flags.contains(.coupled) && shape[0] == live.groups.count:
            let divisor = reduction.divisor(whole, perGroup: true, constant: constant)
            for (index, members) in live.groups.enumerated() {
                let counting = members.filter { live.isLive[$0] }
                guard !counting.isEmpty else { continue }
                seed[index] = 1 / divisor
                for row in counting { perRow[row] = cells[index] / Double(counting.count) }
                loss += cells[index] / divisor
            }
        case 2 where shape[0] == rows:
            let divisor = reduction.divisor(whole, perGroup: false, constant: constant)
            let marks = try call.mask(of: entry, shape: shape)
            let width = shape[1]
            for row in 0..<rows where live.isLive[row] {
                let range = row * width..<(row + 1) * width
                var factor = live.weights[row]
                if reduction == .rowMeanOfTokenMean {
                    factor /= max(1, Double(range.lazy.filter { marks[$0] != 0 }.count))
                }
                for cell in range where marks[cell] != 0 {
                    perRow[row] += factor * cells[cell]
                    seed[cell] = factor / divisor
                }
            }
            loss = perRow.reduce(0, +) / divisor
        case 0:
            // A final number; with LINEAR, the mean over the live rows of this part of the step.
            let factor = flags.contains(.linear) ? own.rows / max(whole.rows, 1) : 1
            seed[0] = factor
            loss = factor * cells[0]
            for row in 0..<rows where live.isLive[row] { perRow[row] = cells[0] }
        default:
            let groups = flags.contains(.coupled) ? ", [\(live.groups.count)] (groups)" : ""
            throw CallFailure(
                .invalid,
                "the loss has shape \(shape); with \(rows) rows it may be [\(rows)], [\(rows),T]\(groups) or []"
            )
        }
    }

    /// The gradient as the host hands it on: nothing in rows that do not count or cells that are masked.
    func silenced(_ gradient: Column, name: String, in batch: ColumnBatch) -> Column {
        guard gradient.shape.first == batch.rows, batch.rows > 0 else { return gradient }
        var cells = gradient.values
        let width = cells.count / batch.rows
        let mask = batch.columns[ColumnNames.split(name).prefix + "mask"]
        let marks = mask.flatMap { $0.shape == gradient.shape ? $0.values : nil }
        for cell in cells.indices {
            if !live.isLive[cell / width] || marks.map({ $0[cell] == 0 }) ?? false {
                cells[cell] = 0
            }
        }
        return Column(shape: gradient.shape, cells)
    }

    /// A gradient that the plugin gave for the sum of its loss, times what each row weighs; for a column
    /// that follows from others, by the one it follows from.
    func spread(
        _ gradient: Column, of name: String, in batch: ColumnBatch
    ) throws(CallFailure) -> [(String, Column)] {
        var cells = gradient.values
        guard gradient.shape.first == batch.rows, batch.rows > 0 else { return [(name, gradient)] }
        let width = cells.count / batch.rows
        for cell in cells.indices { cells[cell] *= rowFactor(cell / width) }
        if batch.columns[name] != nil { return [(name, Column(shape: gradient.shape, cells))] }
        guard let rule = ColumnNames.derivation(of: name), let mask = batch.columns[rule.mask],
            mask.shape.count == 2
        else { throw CallFailure(.missing, "the column \"\(name)\" is not there") }
        let marks = mask.values
        let time = mask.shape[1]
        var spread = [Double](repeating: 0, count: marks.count)
        for row in 0..<batch.rows {
            let range = row * time..<(row + 1) * time
            let count = Double(range.lazy.filter { marks[$0] != 0 }.count)
            for cell in range where marks[cell] != 0 {
                spread[cell] = rule.isMean ? cells[row] / count : cells[row]
            }
        }
        return [(rule.source, Column(shape: mask.shape, spread))]
    }

    /// The gradient of `loss` by a row's sum of losses.
    ///
    /// A loss per token has one weight for all tokens of a row.
    private func rowFactor(_ row: Int) -> Double {
        switch shape.count {
        case 0: return seed[0]
        case 1 where shape[0] == perRow.count: return seed[row]
        case 1:
            guard let group = live.groups.firstIndex(where: { $0.contains(row) }) else { return 0 }
            return seed[group]
        default:
            let width = shape[1]
            return seed[row * width..<(row + 1) * width].first { $0 != 0 } ?? 0
        }
    }
}
