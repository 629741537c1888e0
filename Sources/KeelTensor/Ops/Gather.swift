extension Tensor {
    /// y[..., j] = x[..., i[..., j]] along the last axis; `indices` has the same leading shape.
    package func gather(_ indices: Tensor) -> Tensor {
        precondition(
            rank > 0 && indices.shape.dropLast() == shape.dropLast() && indices.rank == rank,
            "gather of \(indices.shape) from \(shape)")
        let width = columns
        let perRow = indices.columns
        let from = indices.doubles().enumerated().map { i, value in
            precondition(
                value >= 0 && value < Double(width),
                "index \(value) outside the last axis of \(shape)")
            return (perRow == 0 ? 0 : i / perRow) * width + Int(value)
        }
        return taken(from, shape: indices.shape)
    }
}
