import Glibc

extension Tensor {
    /// x - log Σ e^x along an axis.
    package func logSoftmax(axis: Int = -1) -> Tensor {
        alongLines(
            axis,
            { x in
                let sum = logsumexpValue(x)
                return x.map { $0 - sum }
            },
            // dx = dy - e^y Σ dy
            back: { dy, x, _ in
                let total = dy.reduce(0, +)
                let sum = logsumexpValue(x)
                return zip(dy, x).map { $0 - Glibc.exp($1 - sum) * total }
            })
    }
}
