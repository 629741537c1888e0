extension Tensor {
    /// x * x.
    package func square() -> Tensor {
        unary({ x in x * x }, slope: { x, y in 2 * x })
    }
}
