extension Tensor {
    /// condition != 0 ? a : b, broadcast; the side not taken gets gradient 0, even if it is NaN.
    package static func `where`(_ condition: Tensor, _ a: Tensor, _ b: Tensor) -> Tensor {
        precondition(a.dtype == b.dtype && a.dtype.isFloat, "where of \(a.dtype) and \(b.dtype)")
        guard let sides = Shape.broadcast(a.shape, b.shape),
            let shape = Shape.broadcast(condition.shape, sides)
        else {
            preconditionFailure(
                "shapes \(condition.shape), \(a.shape) and \(b.shape) do not broadcast")
        }
        let taken = condition.expanded(shape).map { $0 != 0 }
        let (aCells, bCells) = (a.expanded(shape), b.expanded(shape))
        let y = a.filled(taken.indices.map { taken[$0] ? aCells[$0] : bCells[$0] }, shape: shape)
        guard a.isTracked || b.isTracked else { return y }
        let (aValue, bValue) = (a.detach(), b.detach())
        return Tape.record([a, b], y) { g in
            let dy = g.dy.doubles()
            g.add(0, aValue.folded(dy.indices.map { taken[$0] ? dy[$0] : 0 }, from: shape))
            g.add(1, bValue.folded(dy.indices.map { taken[$0] ? 0 : dy[$0] }, from: shape))
        }
    }
}
