// What the small operations are made of. They serve objectives on [batch, time] columns: every cell is computed
// in f64 and rounded once to the tensor's type, whatever the instruction set.

extension Tensor {
    /// A tensor like this one with new values.
    func filled(_ values: [Double], shape: [Int]? = nil) -> Tensor {
        Tensor(values, shape: shape ?? self.shape, dtype: dtype, device: device)
    }

    /// y = f(x) cell by cell; `slope` is dy/dx from x and y.
    func unary(
        _ f: (Double) -> Double, slope: @escaping (_ x: Double, _ y: Double) -> Double
    ) -> Tensor {
        precondition(dtype.isFloat, "arithmetic on \(dtype)")
        let x = detach()
        let y = filled(doubles().map(f))
        guard isTracked else { return y }
        return Tape.record([self], y) { g in
            let xs = x.doubles()
            let ys = y.doubles()
            var d = g.dy.doubles()
            for i in d.indices { d[i] = Tensor.times(d[i], slope(xs[i], ys[i])) }
            g.add(0, x.filled(d))
        }
    }

    /// A step function of x: no gradient.
    func flat(_ f: (Double) -> Double) -> Tensor { filled(doubles().map(f)) }

    /// y = f(a, b) with broadcasting; `slopes` are dy/da and dy/db from a, b and y.
    static func binary(
        _ a: Tensor, _ b: Tensor, _ f: (Double, Double) -> Double,
        slopes: @escaping (_ a: Double, _ b: Double, _ y: Double) -> (Double, Double)
    ) -> Tensor {
        precondition(
            a.dtype == b.dtype && a.dtype.isFloat, "arithmetic on \(a.dtype) and \(b.dtype)")
        guard let shape = Shape.broadcast(a.shape, b.shape) else {
            preconditionFailure("shapes \(a.shape) and \(b.shape) do not broadcast")
        }
        let (aCells, bCells) = (a.expanded(shape), b.expanded(shape))
        let cells = aCells.indices.map { f(aCells[$0], bCells[$0]) }
        let y = a.filled(cells, shape: shape)
        guard a.isTracked || b.isTracked else { return y }
        let (aValue, bValue) = (a.detach(), b.detach())
        return Tape.record([a, b], y) { g in
            let (aCells, bCells) = (aValue.expanded(shape), bValue.expanded(shape))
            let ys = y.doubles()
            let dy = g.dy.doubles()
            var (da, db) = (dy, dy)
            for i in dy.indices {
                let (sa, sb) = slopes(aCells[i], bCells[i], ys[i])
                da[i] = times(dy[i], sa)
                db[i] = times(dy[i], sb)
            }
            g.add(0, aValue.folded(da, from: shape))
            g.add(1, bValue.folded(db, from: shape))
        }
    }

    /// A zero gradient stays zero beside an infinite slope: a cell that was masked out does no harm.
    static func times(_ dy: Double, _ slope: Double) -> Double { dy == 0 ? 0 : dy * slope }

    /// The cells, repeated to `target`.
    func expanded(_ target: [Int]) -> [Double] {
        let cells = doubles()
        if shape == target { return cells }
        return Shape.broadcastIndices(shape, to: target).map { cells[$0] }
    }

    /// Sums cells of shape `source` down to this tensor's shape: the transpose of `expanded`.
    func folded(_ cells: [Double], from source: [Int]) -> Tensor {
        if shape == source { return filled(cells) }
        var sums = [Double](repeating: 0, count: count)
        for (i, from) in Shape.broadcastIndices(shape, to: source).enumerated() {
            sums[from] += cells[i]
        }
        return filled(sums)
    }
}
