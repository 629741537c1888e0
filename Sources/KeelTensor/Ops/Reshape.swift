extension Tensor {
    /// The same cells under another shape; at most one length may be -1.
    package func reshaped(_ shape: [Int]) -> Tensor {
        var shape = shape
        if let hole = shape.firstIndex(of: -1) {
            let rest = shape.enumerated().reduce(1) { $1.offset == hole ? $0 : $0 * $1.element }
            shape[hole] = rest == 0 ? 0 : count / rest
        }
        precondition(
            shape.allSatisfy { $0 >= 0 } && Shape.count(shape) == count,
            "\(self.shape) reshaped to \(shape)")
        let old = self.shape
        return Tape.record([self], detach().viewed(shape)) { g in g.add(0, g.dy.viewed(old)) }
    }
}
