extension NN {
    /// y = silu(gate) · up.
    ///
    /// Shazeer 2020, arXiv:2002.05202, equation 6 (without the projections).
    package static func swiglu(_ gate: Tensor, _ up: Tensor) -> Tensor {
        precondition(
            gate.shape == up.shape && gate.dtype == up.dtype, "swiglu of \(gate.shape), \(up.shape)"
        )
        let (gate0, up0) = (gate.detach(), up.detach())
        return Tape.record([gate, up], Kernels.swiglu(gate0, up0)) { g in
            let d = Kernels.swigluBackward(g.dy, gate0, up0)
            g.add(0, d.gate)
            g.add(1, d.up)
        }.remade { Kernels.swiglu(gate0, up0) }
    }
}
