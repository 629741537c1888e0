import Glibc

extension Tensor {
    /// Hyperbolic tangent.
    package func tanh() -> Tensor {
        unary({ x in Glibc.tanh(x) }, slope: { x, y in 1 - Glibc.tanh(x) * Glibc.tanh(x) })
    }
}
