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
        let x0 = x.detach()
        return Tape.record([x], y) { g in
            let dx = Tensor(zeros: x0.shape, dtype: x0.dtype, device: x0.device)
            Memory.copyColumns(of: g.dy, 0, into: dx, range.lowerBound, range.count)
            g.add(0, dx)
        }
    }
}
