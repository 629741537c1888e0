extension NN {
    /// Some columns of every row.
    ///
    /// - Parameter x: `[rows, columns]`.
    /// - Returns: `[rows, range.count]`.
    package static func columns(_ x: Tensor, _ range: Range<Int>) -> Tensor {
        precondition(
            x.rank == 2 && range.lowerBound >= 0 && range.upperBound <= x.columns,
            "columns \(range) of \(x.shape)")
        let y = Tensor(uninitialized: [x.rows, range.count], x.dtype, x.device)
        Memory.copyColumns(of: x, range.lowerBound, into: y, 0, range.count)
        let (shape, dtype, device) = (x.shape, x.dtype, x.device)
        return Tape.record([x], y) { g in
            let dx = Tensor(zeros: shape, dtype: dtype, device: device)
            Memory.copyColumns(of: g.dy, 0, into: dx, range.lowerBound, range.count)
            g.add(0, dx)
        }
    }
}
