import CKernels

extension Kernels {
    static func rmsNorm(
        _ x: Tensor, _ w: Tensor, eps: Double, offset: Double
    ) -> (y: Tensor, rstd: Tensor) {
        let (y, rstd) = (like(x), accumulator([x.rows], like: x))
        Tiles.overRows(x.device, x.rows, columns: x.columns) { start, count in
            x.kernels.pointee.rms_norm(
                y.row(start), rstd.cell(start), x.row(start), w.raw, Int64(count), Int64(x.columns),
                eps, offset)
        }
        withExtendedLifetime((x, w)) {}
        return (y, rstd)
    }

    /// - Parameter dw: added to; nil = not wanted.
    static func rmsNormBackward(
        _ dy: Tensor, _ x: Tensor, _ w: Tensor, _ rstd: Tensor, offset: Double, dw: Tensor?
    ) -> Tensor {
        let dx = like(x)
        Tiles.reduceRows(x.device, x.rows, columns: x.columns, into: [dw]) {
            start, count, partials in
            x.kernels.pointee.rms_norm_backward(
                dx.row(start), partials[0], dy.row(start), x.row(start), w.raw, rstd.cell(start),
                Int64(count), Int64(x.columns), offset)
        }
        withExtendedLifetime((dy, x, w, rstd, dw)) {}
        return dx
    }

    static func layerNorm(
        _ x: Tensor, _ w: Tensor, _ b: Tensor?, eps: Double
    )
        -> (y: Tensor, mean: Tensor, rstd: Tensor)
    {
        let y = like(x)
        let (mean, rstd) = (accumulator([x.rows], like: x), accumulator([x.rows], like: x))
        Tiles.overRows(x.device, x.rows, columns: x.columns) { start, count in
            x.kernels.pointee.layer_norm(
                y.row(start), mean.cell(start), rstd.cell(start), x.row(start), w.raw, b?.raw,
                Int64(count),
                Int64(x.columns), eps)
        }
        withExtendedLifetime((x, w, b)) {}
        return (y, mean, rstd)
    }

    /// - Parameter dw, db: added to; nil = not wanted.
    static func layerNormBackward(
        _ dy: Tensor, _ x: Tensor, _ w: Tensor, _ mean: Tensor, _ rstd: Tensor, dw: Tensor?,
        db: Tensor?
    ) -> Tensor {
        let dx = like(x)
        Tiles.reduceRows(x.device, x.rows, columns: x.columns, into: [dw, db]) {
            start, count, partials in
            x.kernels.pointee.layer_norm_backward(
                dx.row(start), partials[0], partials[1], dy.row(start), x.row(start), w.raw,
                mean.cell(start), rstd.cell(start), Int64(count), Int64(x.columns))
        }
        withExtendedLifetime((dy, x, w, mean, rstd, dw, db)) {}
        return dx
    }

    static func rope(
        _ x: Tensor, heads: Int, positions: Tensor, frequencies: [Float], scale: Float, sign: Double
    ) -> Tensor {
        let y = like(x)
        guard x.rows > 0 else { return y }
        let (low, high) = bounds(positions)
        precondition(low >= 0, "position \(low)")
        let table = x.device.cache.rotation(
            frequencies, scale, x.dtype.accumulator, positions: high + 1)
        let dim = x.columns / heads
        Tiles.overRows(x.device, x.rows, columns: x.columns) { start, count in
            x.kernels.pointee.rope(
                y.row(start), x.row(start),
                positions.cell(start).assumingMemoryBound(to: Int32.self),
                table.cos, table.sin, Int64(count), Int64(heads), Int64(dim),
                Int64(frequencies.count), sign)
        }
        withExtendedLifetime((x, positions, table)) {}
        return y
    }
}
