extension Tensor {
    /// x + k.
    package func offset(_ k: Double) -> Tensor {
        unary({ x in x + k }, slope: { _, _ in 1 })
    }
}

/// x + k.
package func + (x: Tensor, k: Double) -> Tensor { x.offset(k) }

/// k + x.
package func + (k: Double, x: Tensor) -> Tensor { x.offset(k) }

/// x - k.
package func - (x: Tensor, k: Double) -> Tensor { x.offset(-k) }

/// k - x.
package func - (k: Double, x: Tensor) -> Tensor { x.negated().offset(k) }
