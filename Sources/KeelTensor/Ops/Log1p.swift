import Glibc

extension Tensor {
    /// log(1 + x), accurate near 0.
    package func log1p() -> Tensor {
        unary({ x in Glibc.log1p(x) }, slope: { x, y in 1 / (1 + x) })
    }
}
