import Glibc

extension Tensor {
    /// e^x / Σ e^x along an axis.
    package func softmax(axis: Int = -1) -> Tensor {
        alongLines(
            axis,
            { x in
                let sum = logsumexpValue(x)
                return x.map { Glibc.exp($0 - sum) }
            },
            // dx = y (dy - Σ dy y)
            back: { dy, _, y in
                let dot = zip(dy, y).reduce(0) { $0 + $1.0 * $1.1 }
                return zip(dy, y).map { ($0 - dot) * $1 }
            })
    }
}
