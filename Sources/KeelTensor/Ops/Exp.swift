import Glibc

extension Tensor {
    /// e^x.
    package func exp() -> Tensor {
        unary({ x in Glibc.exp(x) }, slope: { x, y in y })
    }
}
