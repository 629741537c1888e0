import Glibc

extension Tensor {
    /// Natural logarithm; log 0 = -inf.
    package func log() -> Tensor {
        unary({ x in Glibc.log(x) }, slope: { x, y in 1 / x })
    }
}
