extension NN {
    /// How the normal distribution function in GELU is computed.
    package enum GELUKind: Sendable {
        /// x (1 + tanh(sqrt(2/π) (x + 0.044715 x^3))) / 2: `gelu_new`, `gelu_pytorch_tanh`.
        case tanh
        /// x (1 + erf(x / sqrt 2)) / 2: `gelu`.
        case erf
    }

    /// y = x Φ(x).
    ///
    /// Hendrycks & Gimpel 2016, arXiv:1606.08415.
    package static func gelu(_ x: Tensor, approximate: GELUKind = .tanh) -> Tensor {
        let x0 = x.detach()
        let isTanh = approximate == .tanh
        return Tape.record([x], Kernels.gelu(x0, approximate: isTanh)) { g in
            g.add(0, Kernels.geluBackward(g.dy, x0, approximate: isTanh))
        }.remade { Kernels.gelu(x0, approximate: isTanh) }
    }
}
