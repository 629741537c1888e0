extension NN {
    /// Row `ids[r]` of the weight for every r.
    ///
    /// - Parameters:
    ///   - weight: `[vocabulary, hidden]`.
    ///   - ids: i32 `[rows]`.
    /// - Returns: `[rows, hidden]`.
    package static func embedding(_ weight: Tensor, ids: Tensor) -> Tensor { gatherRows(weight, ids) }

    /// Rows of x by number; in the gradient, rows that are taken twice add up.
    ///
    /// - Parameter rows: i32 `[n]`.
    /// - Returns: `[n, columns]`.
    package static func gatherRows(_ x: Tensor, _ rows: Tensor) -> Tensor {
        let x0 = x.detach()
        return Tape.record([x], Kernels.gatherRows(x, rows)) { g in
            g.accumulate(0, like: x0) { Kernels.scatterAdd($0, g.dy, rows) }
        }
    }
}
