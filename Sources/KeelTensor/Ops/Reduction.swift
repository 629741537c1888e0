// What the reductions are made of: cells grouped by where they end up, in row-major order.

/// One reduction: which cells of the input make each cell of the result.
struct Groups {
    /// The shape of the result.
    let shape: [Int]
    private let outer: Int, length: Int, inner: Int
    private let live: [Bool]?

    /// - Parameters:
    ///   - axis: the axis that goes; nil = all.
    ///   - keepDims: the axis stays with length 1.
    ///   - mask: broadcasts to `x`; cells where it is 0 are left out by selection.
    init(_ x: Tensor, axis: Int?, keepDims: Bool, mask: Tensor?) {
        if let axis {
            guard let axis = Shape.axis(axis, rank: x.rank) else {
                preconditionFailure("axis \(axis) of shape \(x.shape)")
            }
            (outer, length, inner) = Shape.split(x.shape, axis: axis)
            var shape = x.shape
            if keepDims { shape[axis] = 1 } else { shape.remove(at: axis) }
            self.shape = shape
        } else {
            (outer, length, inner) = (1, x.count, 1)
            shape = keepDims ? x.shape.map { _ in 1 } : []
        }
        if let mask {
            precondition(
                Shape.broadcast(mask.shape, x.shape) == x.shape,
                "mask \(mask.shape) over \(x.shape)")
            live = mask.expanded(x.shape).map { $0 != 0 }
        } else {
            live = nil
        }
    }

    /// Calls `body` with each result cell and the input cells that make it.
    func forEach(_ body: (_ result: Int, _ cells: [Int]) -> Void) {
        var cells: [Int] = []
        cells.reserveCapacity(length)
        for o in 0..<outer {
            for i in 0..<inner {
                cells.removeAll(keepingCapacity: true)
                for a in 0..<length {
                    let cell = (o * length + a) * inner + i
                    if live?[cell] ?? true { cells.append(cell) }
                }
                body(o * inner + i, cells)
            }
        }
    }
}

extension Tensor {
    /// y = value of the live cells; `slope` writes dy/dx of the cells of one group.
    func reduced(
        _ axis: Int?, _ keepDims: Bool, _ mask: Tensor?, value: ([Double]) -> Double,
        slopes: @escaping (_ x: [Double], _ y: Double) -> [Double]
    ) -> Tensor {
        precondition(dtype.isFloat, "a reduction of \(dtype)")
        let groups = Groups(self, axis: axis, keepDims: keepDims, mask: mask)
        let cells = doubles()
        var result = [Double](repeating: 0, count: Shape.count(groups.shape))
        groups.forEach { at, from in result[at] = value(from.map { cells[$0] }) }
        let y = filled(result, shape: groups.shape)
        guard isTracked else { return y }
        let x = detach()
        return Tape.record([self], y) { g in
            let cells = x.doubles()
            let dy = g.dy.doubles()
            var dx = [Double](repeating: 0, count: cells.count)
            groups.forEach { at, from in
                let slope = slopes(from.map { cells[$0] }, result[at])
                for (i, cell) in from.enumerated() { dx[cell] = Tensor.times(dy[at], slope[i]) }
            }
            g.add(0, x.filled(dx))
        }
    }
}
