extension Tensor {
    /// y = f(line) for every line along an axis; `back` turns dy and y of a line into dx.
    func alongLines(
        _ axis: Int, _ f: ([Double]) -> [Double],
        back: @escaping (_ dy: [Double], _ x: [Double], _ y: [Double]) -> [Double]
    ) -> Tensor {
        precondition(dtype.isFloat, "arithmetic on \(dtype)")
        guard rank > 0, let axis = Shape.axis(axis, rank: rank) else {
            preconditionFailure("axis \(axis) of shape \(shape)")
        }
        let split = Shape.split(shape, axis: axis)
        let x = detach()
        let xs = doubles()
        var ys = xs
        Tensor.forEachLine(split) { line in
            for (i, value) in zip(line, f(line.map { xs[$0] })) { ys[i] = value }
        }
        let y = filled(ys)
        guard isTracked else { return y }
        return Tape.record([self], y) { g in
            let dy = g.dy.doubles()
            let xs = x.doubles()
            let ys = y.doubles()
            var dx = dy
            Tensor.forEachLine(split) { line in
                let incoming = line.map { dy[$0] }
                // As in `times`: a line that nothing depends on stays silent, NaN or not.
                let d =
                    incoming.allSatisfy { $0 == 0 }
                    ? incoming : back(incoming, line.map { xs[$0] }, line.map { ys[$0] })
                for (i, value) in zip(line, d) { dx[i] = value }
            }
            g.add(0, x.filled(dx))
        }
    }

    private static func forEachLine(
        _ split: (outer: Int, length: Int, inner: Int), _ body: (StrideTo<Int>) -> Void
    ) {
        for o in 0..<split.outer {
            for i in 0..<split.inner {
                let start = o * split.length * split.inner + i
                body(stride(from: start, to: start + split.length * split.inner, by: split.inner))
            }
        }
    }
}
