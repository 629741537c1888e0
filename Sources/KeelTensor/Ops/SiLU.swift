extension NN {
    /// y = x / (1 + e^-x).
    package static func silu(_ x: Tensor) -> Tensor {
        let x0 = x.detach()
        return Tape.record([x], Kernels.silu(x0)) { g in g.add(0, Kernels.siluBackward(g.dy, x0)) }
            .remade { Kernels.silu(x0) }
    }
}
