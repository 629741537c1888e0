extension Tensor {
    /// Repeated to `shape` by numpy's rules; -1 keeps a length.
    package func broadcast(_ shape: [Int]) -> Tensor {
        let lead = shape.count - rank
        precondition(lead >= 0, "\(self.shape) broadcast to \(shape)")
        let target = shape.enumerated().map { i, length in
            length == -1 && i >= lead ? self.shape[i - lead] : length
        }
        precondition(
            Shape.broadcast(self.shape, target) == target, "\(self.shape) broadcast to \(shape)")
        let y = filled(expanded(target), shape: target)
        guard isTracked else { return y }
        let x = detach()
        return Tape.record([self], y) { g in g.add(0, x.folded(g.dy.doubles(), from: target)) }
    }
}
