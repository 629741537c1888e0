extension NN {
    /// y = x where a cell is kept, times `scale`; 0 elsewhere.
    ///
    /// - Parameters:
    ///   - kept: one bit per cell, the lowest bit of a word first.
    ///   - scale: 1 / (1 - p) keeps the mean.
    package static func dropout(_ x: Tensor, kept: [UInt64], scale: Float) -> Tensor {
        precondition(kept.count * 64 >= x.count, "\(kept.count) words for \(x.shape)")
        let (shape, dtype, device) = (x.shape, x.dtype, x.device)
        func mask() -> Tensor {
            let cells = (0..<Shape.count(shape)).map { cell in
                kept[cell >> 6] >> UInt64(cell & 63) & 1 == 1 ? scale : 0
            }
            return Tensor(cells, shape: shape, dtype: dtype, device: device)
        }
        let input = x.kept
        return Tape.record([x], Kernels.multiply(x.detach(), mask())) { g in
            g.add(0, Kernels.multiply(g.dy, mask()))
        }.remade { Kernels.multiply(input.value, mask()) }
    }
}
