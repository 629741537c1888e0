extension Tensor {
    /// The mean over an axis (nil: all cells) of the cells the mask keeps; 0 over no cells.
    package func mean(axis: Int? = nil, keepDims: Bool = false, mask: Tensor? = nil) -> Tensor {
        reduced(
            axis, keepDims, mask, value: { $0.isEmpty ? 0 : $0.reduce(0, +) / Double($0.count) },
            slopes: { x, _ in [Double](repeating: 1 / Double(x.count), count: x.count) })
    }
}
