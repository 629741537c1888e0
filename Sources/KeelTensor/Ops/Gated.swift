extension NN {
    /// y = gelu(gate) · up.
    ///
    /// Shazeer 2020, arXiv:2002.05202, equation 6 (without the projections).
    package static func geglu(
        _ gate: Tensor, _ up: Tensor, approximate: GELUKind = .tanh
    ) -> Tensor {
        precondition(
            gate.shape == up.shape && gate.dtype == up.dtype, "geglu of \(gate.shape), \(up.shape)")
        let (gate0, up0) = (gate.detach(), up.detach())
        let isTanh = approximate == .tanh
        func value() -> Tensor {
            Kernels.multiply(Kernels.gelu(gate0, approximate: isTanh), up0)
        }
        return Tape.record([gate, up], value()) { g in
            // dup = dy gelu(gate);  dgate = dy up gelu'(gate)
            if g.needs(1) {
                g.add(1, Kernels.multiply(g.dy, Kernels.gelu(gate0, approximate: isTanh)))
            }
            if g.needs(0) {
                g.add(
                    0,
                    Kernels.geluBackward(
                        Kernels.multiply(g.dy, up0), gate0, approximate: isTanh))
            }
        }.remade(by: value)
    }
}
