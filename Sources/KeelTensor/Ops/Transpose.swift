extension Tensor {
    /// The axes in a new order; nil = the last two swapped.
    package func transposed(_ order: [Int]? = nil) -> Tensor {
        var axes = Array(0..<rank)
        if let order {
            precondition(order.sorted() == axes, "axes \(order) of \(shape)")
            axes = order
        } else {
            precondition(rank >= 2, "transposed() of \(shape)")
            axes.swapAt(rank - 1, rank - 2)
        }
        let strides = Shape.strides(shape)
        let newShape = axes.map { shape[$0] }
        return taken(Shape.indices(newShape, strides: axes.map { strides[$0] }), shape: newShape)
    }
}
