/// Which rows a step takes: a pure function of the step's number.
///
/// An epoch visits every row of the sampler's order once; its last step takes what is left.
package struct EpochOrder: Sendable {
    package let rowCount: Int
    package let rowsPerStep: Int

    /// - Parameters:
    ///   - rowCount: rows of the data set, at least 1.
    ///   - rowsPerStep: rows of a full step, over all micro-batches and ranks.
    package init(rowCount: Int, rowsPerStep: Int) {
        precondition(rowCount > 0 && rowsPerStep > 0, "\(rowCount) rows, \(rowsPerStep) a step")
        self.rowCount = rowCount
        self.rowsPerStep = rowsPerStep
    }

    package var stepsPerEpoch: Int { (rowCount + rowsPerStep - 1) / rowsPerStep }

    /// The epoch a step belongs to, from 0.
    package func epoch(of step: Int) -> Int { step / stepsPerEpoch }

    /// Epochs finished after `steps` steps, as a fraction.
    package func progress(after steps: Int) -> Double {
        let whole = steps / stepsPerEpoch
        let rows = min(rowCount, (steps % stepsPerEpoch) * rowsPerStep)
        return Double(whole) + Double(rows) / Double(rowCount)
    }

    /// Positions in the epoch's order that the step takes.
    package func positions(of step: Int) -> Range<Int> {
        let start = (step % stepsPerEpoch) * rowsPerStep
        return start..<min(start + rowsPerStep, rowCount)
    }
}
