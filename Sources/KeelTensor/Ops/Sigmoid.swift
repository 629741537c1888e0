import Glibc

extension Tensor {
    /// 1 / (1 + e^-x), without overflow.
    package func sigmoid() -> Tensor {
        unary({ x in sigmoidValue(x) }, slope: { x, y in sigmoidValue(x) * sigmoidValue(-x) })
    }
}

/// 1 / (1 + e^-x), without overflow.
func sigmoidValue(_ x: Double) -> Double {
    if x >= 0 { return 1 / (1 + Glibc.exp(-x)) }
    let e = Glibc.exp(x)
    return e / (1 + e)
}
