extension NN {
    /// Row `ids[r]` of the weight for every r.
    ///
    /// - Parameters:
    ///   - weight: `[vocabulary, hidden]`.
    ///   - ids: i32 `[rows]`.
    ///   - padding: an id whose row gets no gradient, as torch's `padding_idx`.
    /// - Returns: `[rows, hidden]`.
    package static func embedding(_ weight: Tensor, ids: Tensor, padding: Int32? = nil) -> Tensor {
        let all = padding != nil && weight.isTracked ? ids.ints() : []
        guard all.contains(where: { $0 == padding }) else { return gatherRows(weight, ids) }
        let kept = all.indices.filter { all[$0] != padding }
        let rows = Tensor(kept.map { Int32($0) }, device: weight.device)
        let keptIDs = Tensor(kept.map { all[$0] }, device: weight.device)
        let w0 = weight.detach()
        return Tape.record([weight], Kernels.gatherRows(weight, ids)) { g in
            g.accumulate(0, like: w0) {
                Kernels.scatterAdd($0, Kernels.gatherRows(g.dy, rows), keptIDs)
            }
        }
    }

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
