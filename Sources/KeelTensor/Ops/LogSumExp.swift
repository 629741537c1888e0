import Glibc

extension Tensor {
    /// log Σ e^x over an axis (nil: all cells), without overflow; -inf over no cells.
    package func logsumexp(axis: Int? = nil, keepDims: Bool = false, mask: Tensor? = nil) -> Tensor
    {
        reduced(
            axis, keepDims, mask, value: { logsumexpValue($0) },
            slopes: { x, _ in
                let y = logsumexpValue(x)
                return x.map { y == -.infinity ? 0 : Glibc.exp($0 - y) }
            })
    }
}

/// log Σ e^x, without overflow.
func logsumexpValue(_ x: [Double]) -> Double {
    var top = -Double.infinity
    for value in x { top = value.isNaN ? value : Swift.max(top, value) }
    guard top.isFinite else { return top }
    return top + Glibc.log(x.reduce(0) { $0 + Glibc.exp($1 - top) })
}
