import Glibc

extension Tensor {
    /// log(1 / (1 + e^-x)) = min(x, 0) - log1p(e^-|x|).
    package func logSigmoid() -> Tensor {
        unary(
            { x in Swift.min(x, 0) - Glibc.log1p(Glibc.exp(-Swift.abs(x))) },
            slope: { x, y in sigmoidValue(-x) })
    }
}
