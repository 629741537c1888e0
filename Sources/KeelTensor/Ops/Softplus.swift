import Glibc

extension Tensor {
    /// log(1 + e^x) = max(x, 0) + log1p(e^-|x|).
    package func softplus() -> Tensor {
        unary(
            { x in Swift.max(x, 0) + Glibc.log1p(Glibc.exp(-Swift.abs(x))) },
            slope: { x, y in sigmoidValue(x) })
    }
}
