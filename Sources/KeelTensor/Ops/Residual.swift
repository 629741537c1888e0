extension NN {
    /// y = a + b of equal shapes.
    package static func add(_ a: Tensor, _ b: Tensor) -> Tensor {
        precondition(
            a.shape == b.shape && a.dtype == b.dtype,
            "\(a.shape) \(a.dtype) + \(b.shape) \(b.dtype)")
        return a + b
    }

    /// y = k x, in the tensor's own arithmetic.
    package static func scale(_ x: Tensor, _ k: Double) -> Tensor {
        Tape.record([x], Kernels.scale(x, k)) { g in g.add(0, Kernels.scale(g.dy, k)) }
    }
}
