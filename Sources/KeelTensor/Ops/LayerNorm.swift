extension NN {
    /// y = (x - mean(x)) / sqrt(var(x) + eps) · w + b, row by row; the variance divides by n.
    ///
    /// - Parameters:
    ///   - x: `[rows, columns]`.
    ///   - weight, bias: `[columns]`.
    package static func layerNorm(
        _ x: Tensor, weight: Tensor, bias: Tensor? = nil, eps: Double
    ) -> Tensor {
        precondition(weight.count == x.columns, "norm of \(x.shape) by \(weight.shape)")
        let (x0, w0, b0) = (x.detach(), weight.detach(), bias?.detach())
        let (y, mean, rstd) = Kernels.layerNorm(x0, w0, b0, eps: eps)
        return Tape.record([x, weight] + (bias.map { [$0] } ?? []), y) { g in
            func back(_ dw: Tensor?, _ db: Tensor?) {
                g.add(0, Kernels.layerNormBackward(g.dy, x0, w0, mean, rstd, dw: dw, db: db))
            }
            func withBias(_ dw: Tensor?) {
                if let b0, g.needs(2) {
                    g.accumulate(2, like: b0) { back(dw, $0) }
                } else {
                    back(dw, nil)
                }
            }
            if g.needs(1) { g.accumulate(1, like: w0) { withBias($0) } } else { withBias(nil) }
        }.remade { Kernels.layerNorm(x0, w0, b0, eps: eps).0 }
    }
}
