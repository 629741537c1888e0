extension Tensor {
    /// 1 / x.
    package func reciprocal() -> Tensor {
        unary({ x in 1 / x }, slope: { x, y in -1 / (x * x) })
    }
}
