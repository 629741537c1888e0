extension Tensor {
    /// |x|; gradient 0 at 0.
    package func abs() -> Tensor {
        unary({ x in Swift.abs(x) }, slope: { x, y in x > 0 ? 1 : x < 0 ? -1 : 0 })
    }
}
