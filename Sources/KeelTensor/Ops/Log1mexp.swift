import Glibc

extension Tensor {
    /// log(1 - e^x) for x < 0, accurate at both ends.
    package func log1mexp() -> Tensor {
        unary(
            { x in x > -0.693147180559945 ? Glibc.log(-Glibc.expm1(x)) : Glibc.log1p(-Glibc.exp(x))
            }, slope: { x, y in -1 / Glibc.expm1(-x) })
    }
}
