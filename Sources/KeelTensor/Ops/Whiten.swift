extension Tensor {
    /// (x - mean) / sqrt(var + epsilon) over the cells the mask keeps, a constant; fewer than two cells: x.
    ///
    /// - Parameters:
    ///   - keepMean: the mean is added back.
    ///   - unbiased: the variance divides by n - 1.
    package func whitened(
        epsilon: Double = 1e-8, keepMean: Bool = false, unbiased: Bool = false, mask: Tensor? = nil
    ) -> Tensor {
        let live: [Bool]
        if let mask {
            precondition(
                Shape.broadcast(mask.shape, shape) == shape, "mask \(mask.shape) over \(shape)")
            live = mask.expanded(shape).map { $0 != 0 }
        } else {
            live = [Bool](repeating: true, count: count)
        }
        let cells = doubles()
        let kept = cells.indices.filter { live[$0] }.map { cells[$0] }
        guard kept.count >= 2 else { return detach() }
        let mean = kept.reduce(0, +) / Double(kept.count)
        let squares = kept.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        let variance = squares / Double(unbiased ? kept.count - 1 : kept.count)
        let factor = 1 / (variance + epsilon).squareRoot()
        return filled(cells.map { ($0 - mean) * factor + (keepMean ? mean : 0) })
    }
}
