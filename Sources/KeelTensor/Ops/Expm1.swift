import Glibc

extension Tensor {
    /// e^x - 1, accurate near 0.
    package func expm1() -> Tensor {
        unary({ x in Glibc.expm1(x) }, slope: { x, y in Glibc.exp(x) })
    }
}
