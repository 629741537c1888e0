extension Tensor {
    /// The sum over an axis (nil: all cells); cells where the mask is 0 are left out; 0 over no cells.
    package func sum(axis: Int? = nil, keepDims: Bool = false, mask: Tensor? = nil) -> Tensor {
        reduced(
            axis, keepDims, mask, value: { $0.reduce(0, +) },
            slopes: { x, _ in [Double](repeating: 1, count: x.count) })
    }
}
