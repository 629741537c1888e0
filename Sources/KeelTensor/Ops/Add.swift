/// a + b, broadcast; equal shapes (residuals) take one kernel.
package func + (a: Tensor, b: Tensor) -> Tensor {
    guard a.shape == b.shape, a.dtype == b.dtype, a.dtype.isFloat else {
        return Tensor.binary(a, b, { $0 + $1 }, slopes: { _, _, _ in (1, 1) })
    }
    return Tape.record([a, b], Kernels.add(a, b)) { g in
        g.add(0, g.dy)
        g.add(1, g.dy)
    }
}
