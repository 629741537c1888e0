import CKernels

/// What operations may ask of a device: each kernel cut into tiles, safe to call.
enum Kernels {
    static func like(_ x: Tensor) -> Tensor { Tensor(uninitialized: x.shape, x.dtype, x.device) }

    static func accumulator(_ shape: [Int], like x: Tensor) -> Tensor {
        Tensor(uninitialized: shape, x.dtype.accumulator, x.device)
    }

    static func add(_ a: Tensor, _ b: Tensor) -> Tensor {
        let y = like(a)
        add(a, b, into: y)
        return y
    }

    /// y = a + b; y may be one of them.
    static func add(_ a: Tensor, _ b: Tensor, into y: Tensor) {
        precondition(
            a.count == b.count && a.dtype == b.dtype && a.count == y.count && a.dtype == y.dtype,
            "\(a.shape) + \(b.shape)")
        Tiles.overCells(a.device, a.count) { from, count in
            a.kernels.pointee.add(y.cell(from), a.cell(from), b.cell(from), Int64(count))
        }
        withExtendedLifetime((a, b, y)) {}
    }

    /// sum += x, in the sum's type: that of x or its accumulator.
    static func accumulate(_ sum: Tensor, _ x: Tensor) {
        precondition(
            sum.count == x.count && sum.dtype == x.dtype.accumulator, "\(sum.dtype) += \(x.dtype)")
        Tiles.overCells(x.device, x.count) { from, count in
            x.kernels.pointee.accumulate(sum.cell(from), x.cell(from), Int64(count))
        }
        withExtendedLifetime((sum, x)) {}
    }

    static func scale(_ x: Tensor, _ k: Double) -> Tensor {
        let y = like(x)
        Tiles.overCells(x.device, x.count) { from, count in
            x.kernels.pointee.scale(y.cell(from), x.cell(from), k, Int64(count))
        }
        withExtendedLifetime(x) {}
        return y
    }

    static func multiply(_ a: Tensor, _ b: Tensor) -> Tensor {
        precondition(a.count == b.count && a.dtype == b.dtype, "\(a.shape) · \(b.shape)")
        let y = like(a)
        Tiles.overCells(a.device, a.count) { from, count in
            a.kernels.pointee.multiply(y.cell(from), a.cell(from), b.cell(from), Int64(count))
        }
        withExtendedLifetime((a, b)) {}
        return y
    }

    static func silu(_ x: Tensor) -> Tensor {
        let y = like(x)
        Tiles.overCells(x.device, x.count) { from, count in
            x.kernels.pointee.silu(y.cell(from), x.cell(from), Int64(count))
        }
        withExtendedLifetime(x) {}
        return y
    }

    static func siluBackward(_ dy: Tensor, _ x: Tensor) -> Tensor {
        let dx = like(x)
        Tiles.overCells(x.device, x.count) { from, count in
            x.kernels.pointee.silu_backward(
                dx.cell(from), dy.cell(from), x.cell(from), Int64(count))
        }
        withExtendedLifetime((x, dy)) {}
        return dx
    }

    static func swiglu(_ gate: Tensor, _ up: Tensor) -> Tensor {
        let y = like(gate)
        Tiles.overCells(gate.device, gate.count) { from, count in
            gate.kernels.pointee.swiglu(y.cell(from), gate.cell(from), up.cell(from), Int64(count))
        }
        withExtendedLifetime((gate, up)) {}
        return y
    }

    static func swigluBackward(
        _ dy: Tensor, _ gate: Tensor, _ up: Tensor
    ) -> (gate: Tensor, up: Tensor) {
        let (dgate, dup) = (like(gate), like(up))
        Tiles.overCells(gate.device, gate.count) { from, count in
            gate.kernels.pointee.swiglu_backward(
                dgate.cell(from), dup.cell(from), dy.cell(from), gate.cell(from), up.cell(from),
                Int64(count))
        }
        withExtendedLifetime((gate, up, dy)) {}
        return (dgate, dup)
    }

    static func gelu(_ x: Tensor, approximate: Bool) -> Tensor {
        let y = like(x)
        Tiles.overCells(x.device, x.count) { from, count in
            x.kernels.pointee.gelu(y.cell(from), x.cell(from), Int64(count), approximate ? 1 : 0)
        }
        withExtendedLifetime(x) {}
        return y
    }

    static func geluBackward(_ dy: Tensor, _ x: Tensor, approximate: Bool) -> Tensor {
        let dx = like(x)
        Tiles.overCells(x.device, x.count) { from, count in
            x.kernels.pointee.gelu_backward(
                dx.cell(from), dy.cell(from), x.cell(from), Int64(count), approximate ? 1 : 0)
        }
        withExtendedLifetime((x, dy)) {}
        return dx
    }

    /// sum += the column sums of x.
    static func columnSums(_ sum: Tensor, _ x: Tensor) {
        Tiles.reduceRows(x.device, x.rows, columns: x.columns, into: [sum]) {
            start, count, partials in
            x.kernels.pointee.column_sums(partials[0], x.row(start), Int64(count), Int64(x.columns))
        }
        withExtendedLifetime((sum, x)) {}
    }

    /// y row r = x row ids[r].
    static func gatherRows(_ x: Tensor, _ ids: Tensor) -> Tensor {
        check(ids, below: x.rows)
        let y = Tensor(uninitialized: [ids.count, x.columns], x.dtype, x.device)
        let bytes = x.columns * x.dtype.size
        Tiles.overRows(x.device, ids.count, columns: x.columns) { start, count in
            ck_gather_rows(
                y.row(start), x.raw, ids.cell(start).assumingMemoryBound(to: Int32.self),
                Int64(count),
                Int64(bytes))
        }
        withExtendedLifetime((x, ids)) {}
        return y
    }

    /// sum row ids[r] += x row r, rows in order.
    static func scatterAdd(_ sum: Tensor, _ x: Tensor, _ ids: Tensor) {
        let columns = x.columns
        Tiles.over(x.device, columns, size: 128) { from, count in
            x.kernels.pointee.scatter_add(
                sum.raw, x.raw, ids.raw.assumingMemoryBound(to: Int32.self), Int64(x.rows),
                Int64(columns),
                Int64(from), Int64(from + count))
        }
        withExtendedLifetime((sum, x, ids)) {}
    }

    /// Stops on an id outside 0 ..< limit: the kernels would read foreign memory.
    static func check(_ ids: Tensor, below limit: Int) {
        precondition(ids.dtype == .i32, "ids of \(ids.dtype)")
        let (low, high) = bounds(ids)
        precondition(
            ids.count == 0 || (low >= 0 && high < limit), "ids \(low) ... \(high) for \(limit) rows"
        )
    }

    /// The smallest and largest id.
    static func bounds(_ ids: Tensor) -> (low: Int, high: Int) {
        ids.withCells(Int32.self) { cells in
            var low = Int32.max
            var high = Int32.min
            for id in cells {
                low = min(low, id)
                high = max(high, id)
            }
            return (Int(low), Int(high))
        }
    }
}
