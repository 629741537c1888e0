extension NN {
    /// Rotary positions, half-split as in Hugging Face: the pair (j, j + half) of every head turns by
    /// position · frequencies[j].
    ///
    /// Su et al. 2021, arXiv:2104.09864, equation 34.
    ///
    /// - Parameters:
    ///   - x: `[rows, heads · dim]`.
    ///   - positions: i32 `[rows]`.
    ///   - frequencies: half of the rotated dimensions; dimensions beyond twice that stay as they are.
    ///   - scale: multiplies the rotated dimensions (YaRN's attention factor).
    package static func rope(
        _ x: Tensor, heads: Int, positions: Tensor, frequencies: [Float], scale: Float = 1
    ) -> Tensor {
        precondition(
            x.columns % heads == 0 && 2 * frequencies.count <= x.columns / heads
                && positions.count == x.rows && positions.dtype == .i32,
            "rope of \(x.shape), \(heads) heads, \(frequencies.count) frequencies")
        let y = Kernels.rope(
            x, heads: heads, positions: positions, frequencies: frequencies, scale: scale, sign: 1)
        return Tape.record([x], y) { g in
            g.add(
                0,
                Kernels.rope(
                    g.dy, heads: heads, positions: positions, frequencies: frequencies,
                    scale: scale,
                    sign: -1))
        }
    }
}
