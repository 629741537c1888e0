extension Tensor {
    /// The smaller of each pair of cells; NaN if either is; where equal, half the gradient to each.
    package static func minimum(_ a: Tensor, _ b: Tensor) -> Tensor {
        binary(
            a, b, { $0.isNaN || $1.isNaN ? .nan : Swift.min($0, $1) },
            slopes: { a, b, _ in a == b ? (0.5, 0.5) : a < b ? (1, 0) : (0, 1) })
    }
}
