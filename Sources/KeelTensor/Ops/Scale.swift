extension Tensor {
    /// k * x.
    package func scale(_ k: Double) -> Tensor {
        unary({ x in k * x }, slope: { _, _ in k })
    }
}

/// k * x.
package func * (k: Double, x: Tensor) -> Tensor { x.scale(k) }

/// x * k.
package func * (x: Tensor, k: Double) -> Tensor { x.scale(k) }

/// x / k.
package func / (x: Tensor, k: Double) -> Tensor { x.scale(1 / k) }
