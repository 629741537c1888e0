/// a / b cell by cell, broadcast.
package func / (a: Tensor, b: Tensor) -> Tensor {
    Tensor.binary(a, b, { $0 / $1 }, slopes: { _, b, y in (1 / b, -y / b) })
}
