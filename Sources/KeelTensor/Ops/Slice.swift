extension Tensor {
    /// Places start ..< stop of an axis; negative ones count from the end, as Python's x[start:stop].
    package func slice(axis: Int, _ start: Int, _ stop: Int) -> Tensor {
        guard let axis = Shape.axis(axis, rank: rank) else {
            preconditionFailure("axis \(axis) of shape \(shape)")
        }
        let length = shape[axis]
        func place(_ i: Int) -> Int { Swift.min(Swift.max(i < 0 ? i + length : i, 0), length) }
        let from = place(start)
        return picked(axis: axis, Array(from..<Swift.max(from, place(stop))))
    }
}
