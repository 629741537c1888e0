extension Tensor {
    /// -x.
    package func negated() -> Tensor {
        unary({ x in -x }, slope: { x, y in -1 })
    }
}

/// -x.
package prefix func - (x: Tensor) -> Tensor { x.negated() }
