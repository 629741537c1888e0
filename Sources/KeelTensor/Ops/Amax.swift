extension Tensor {
    /// The largest cell over an axis (nil: all cells); equal cells share the gradient evenly; -inf over no cells.
    package func amax(axis: Int? = nil, keepDims: Bool = false, mask: Tensor? = nil) -> Tensor {
        reduced(
            axis, keepDims, mask,
            value: { x in x.reduce(-.infinity) { $0.isNaN || $1.isNaN ? .nan : Swift.max($0, $1) }
            },
            slopes: { x, _ in
                let best = x.reduce(-.infinity) { Swift.max($0, $1) }
                let ties = Double(x.count { $0 == best })
                return x.map { $0 == best ? 1 / ties : 0 }
            })
    }
}
