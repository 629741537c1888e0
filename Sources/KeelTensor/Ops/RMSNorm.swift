extension NN {
    /// y = x / sqrt(mean(x^2) + eps) · (offset + w), row by row.
    ///
    /// Zhang & Sennrich 2019, equation 4; `offset` 1 is Gemma's `1 + w`.
    ///
    /// - Parameters:
    ///   - x: `[rows, columns]`; a longer last axis than w is normalised in pieces of w's length (per head).
    ///   - weight: `[columns]`.
    package static func rmsNorm(
        _ x: Tensor, weight: Tensor, eps: Double, offset: Float = 0
    ) -> Tensor {
        precondition(x.columns % max(1, weight.count) == 0, "norm of \(x.shape) by \(weight.shape)")
        let shape = x.shape
        let x0 = x.detach().viewed([x.count / max(1, weight.count), weight.count])
        let w0 = weight.detach()
        let (y, rstd) = Kernels.rmsNorm(x0, w0, eps: eps, offset: Double(offset))
        return Tape.record([x, weight], y.viewed(shape)) { g in
            func back(_ dw: Tensor?) {
                let dx = Kernels.rmsNormBackward(g.dy, x0, w0, rstd, offset: Double(offset), dw: dw)
                g.add(0, dx.viewed(shape))
            }
            if g.needs(1) { g.accumulate(1, like: w0) { back($0) } } else { back(nil) }
        }.remade { Kernels.rmsNorm(x0, w0, eps: eps, offset: Double(offset)).0.viewed(shape) }
    }
}
