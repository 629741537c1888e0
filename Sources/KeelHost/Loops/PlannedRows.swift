import KeelData

/// The rows of a step to come, as far as memory follows from them.
struct PlannedRows {
    /// Of the phase, from 0.
    var step: Int
    var rows: [RowShape]

    /// The packed tokens and targets of each micro-batch.
    ///
    /// - Parameters:
    ///   - size: rows of one.
    ///   - includesLast: also the last token of every completion.
    func batches(of size: Int, includesLast: Bool) -> [RunMemory.Batch] {
        stride(from: 0, to: rows.count, by: max(1, size)).map { start in
            var batch = RunMemory.Batch(step: step)
            var last: Int?
            for row in rows[start..<min(start + size, rows.count)] {
                // Rows of one data set row stand together and share their prompt.
                if row.index != last { batch.rows += row.prompt }
                last = row.index
                for length in row.completions {
                    batch.rows += length - (includesLast ? 0 : 1)
                    batch.targets += length
                }
            }
            return batch
        }
    }
}
