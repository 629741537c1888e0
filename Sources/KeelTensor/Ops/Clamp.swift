extension Tensor {
    /// min(max(x, low), high); gradient 1 for low <= x <= high, else 0.
    ///
    /// Bounds may be infinite.
    package func clamp(_ low: Double, _ high: Double) -> Tensor {
        unary(
            { x in x.isNaN ? x : Swift.min(Swift.max(x, low), high) },
            slope: { x, _ in x >= low && x <= high ? 1 : 0 })
    }
}
