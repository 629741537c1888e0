extension Tensor {
    /// max(x, 0); gradient 0 at 0.
    package func relu() -> Tensor {
        unary({ x in x > 0 ? x : x.isNaN ? x : 0 }, slope: { x, y in x > 0 ? 1 : 0 })
    }
}
