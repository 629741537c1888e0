extension Tensor {
    /// The parts one after the other along an axis; all other lengths are equal.
    package static func concat(_ parts: [Tensor], axis: Int = 0) -> Tensor {
        precondition(!parts.isEmpty, "concat of nothing")
        let first = parts[0]
        guard let axis = Shape.axis(axis, rank: first.rank) else {
            preconditionFailure("axis \(axis) of shape \(first.shape)")
        }
        for part in parts {
            var shape = part.shape
            precondition(
                shape.count == first.rank && part.dtype == first.dtype,
                "concat of \(parts.map(\.shape))")
            shape[axis] = first.shape[axis]
            precondition(shape == first.shape, "concat of \(parts.map(\.shape)) along axis \(axis)")
        }
        var shape = first.shape
        shape[axis] = parts.reduce(0) { $0 + $1.shape[axis] }
        let (outer, _, _) = Shape.split(shape, axis: axis)
        let runs = parts.map { outer == 0 ? 0 : $0.count / outer }
        if first.dtype == .i32 {
            let cells = parts.map { $0.ints() }
            var all: [Int32] = []
            for o in 0..<outer {
                for (part, run) in zip(cells, runs) { all += part[o * run..<(o + 1) * run] }
            }
            return Tensor(all, shape: shape, device: first.device)
        }
        let cells = parts.map { $0.doubles() }
        var all: [Double] = []
        all.reserveCapacity(Shape.count(shape))
        for o in 0..<outer {
            for (part, run) in zip(cells, runs) { all += part[o * run..<(o + 1) * run] }
        }
        let values = parts.map { $0.detach() }
        return Tape.record(parts, first.filled(all, shape: shape)) { g in
            let dy = g.dy.doubles()
            let row = runs.reduce(0, +)
            var start = 0
            for (i, run) in runs.enumerated() {
                var d: [Double] = []
                d.reserveCapacity(run * outer)
                for o in 0..<outer { d += dy[o * row + start..<o * row + start + run] }
                g.add(i, values[i].filled(d))
                start += run
            }
        }
    }
}
