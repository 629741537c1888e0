/// a + b, broadcast.
package func + (a: Tensor, b: Tensor) -> Tensor {
    Tensor.binary(a, b, { $0 + $1 }, slopes: { _, _, _ in (1, 1) })
}
