import Glibc

extension Tensor {
    /// a ^ b cell by cell; the gradient of b is a^b log a, 0 where a is 0.
    package static func pow(_ a: Tensor, _ b: Tensor) -> Tensor {
        binary(
            a, b, { Glibc.pow($0, $1) },
            slopes: { a, b, y in
                (b == 0 ? 0 : b * Glibc.pow(a, b - 1), a == 0 ? 0 : y * Glibc.log(a))
            })
    }
}
