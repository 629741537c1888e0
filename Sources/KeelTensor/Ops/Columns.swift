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

    /// The columns of both, one after the other.
    ///
    /// - Parameters:
    ///   - left: `[rows, a]`.
    ///   - right: `[rows, b]`.
    /// - Returns: `[rows, a + b]`.
    package static func besides(_ left: Tensor, _ right: Tensor) -> Tensor {
        precondition(
            left.rank == 2 && right.rank == 2 && left.rows == right.rows
                && left.dtype == right.dtype, "\(left.shape) besides \(right.shape)")
        let widths = [left.columns, right.columns]
        let y = Tensor(uninitialized: [left.rows, widths[0] + widths[1]], left.dtype, left.device)
        Memory.copyColumns(of: left, 0, into: y, 0, widths[0])
        Memory.copyColumns(of: right, 0, into: y, widths[0], widths[1])
        let (rows, dtype, device) = (left.rows, left.dtype, left.device)
        return Tape.record([left, right], y) { g in
            for side in 0..<2 where g.needs(side) {
                let part = Tensor(uninitialized: [rows, widths[side]], dtype, device)
                Memory.copyColumns(of: g.dy, side * widths[0], into: part, 0, widths[side])
                g.add(side, part)
            }
        }
    }
}
