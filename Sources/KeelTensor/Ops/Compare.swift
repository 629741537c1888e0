// Comparisons give 0 or 1 and have no gradient.

extension Tensor {
    /// x > k.
    package func gt(_ k: Double) -> Tensor { flat { $0 > k ? 1 : 0 } }

    /// x >= k.
    package func ge(_ k: Double) -> Tensor { flat { $0 >= k ? 1 : 0 } }

    /// x < k.
    package func lt(_ k: Double) -> Tensor { flat { $0 < k ? 1 : 0 } }

    /// x <= k.
    package func le(_ k: Double) -> Tensor { flat { $0 <= k ? 1 : 0 } }

    /// x == k.
    package func eq(_ k: Double) -> Tensor { flat { $0 == k ? 1 : 0 } }
}
