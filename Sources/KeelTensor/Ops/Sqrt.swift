extension Tensor {
    /// Square root.
    package func sqrt() -> Tensor {
        unary({ x in x.squareRoot() }, slope: { x, y in 0.5 / x.squareRoot() })
    }
}
