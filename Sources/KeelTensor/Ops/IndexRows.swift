extension Tensor {
    /// The slices numbers `indices` of an axis; repeats add up in the gradient.
    package func indexed(_ indices: Tensor, axis: Int = 0) -> Tensor {
        guard let axis = Shape.axis(axis, rank: rank) else {
            preconditionFailure("axis \(axis) of shape \(shape)")
        }
        return picked(axis: axis, indices.doubles().map { Int($0) })
    }

    func picked(axis: Int, _ places: [Int]) -> Tensor {
        let split = Shape.split(shape, axis: axis)
        precondition(
            places.allSatisfy { $0 >= 0 && $0 < split.length },
            "index outside axis \(axis) of \(shape)")
        var newShape = shape
        newShape[axis] = places.count
        var from: [Int] = []
        from.reserveCapacity(Shape.count(newShape))
        for o in 0..<split.outer {
            for place in places {
                let start = (o * split.length + place) * split.inner
                from.append(contentsOf: start..<start + split.inner)
            }
        }
        return taken(from, shape: newShape)
    }

    /// y[i] = x[from[i]]; repeats add up in the gradient.
    func taken(_ from: [Int], shape newShape: [Int]) -> Tensor {
        if dtype == .i32 {
            let cells = ints()
            return Tensor(from.map { cells[$0] }, shape: newShape, device: device)
        }
        let cells = doubles()
        let y = filled(from.map { cells[$0] }, shape: newShape)
        guard isTracked else { return y }
        let x = detach()
        return Tape.record([self], y) { g in
            var dx = [Double](repeating: 0, count: x.count)
            let dy = g.dy.doubles()
            for (i, cell) in from.enumerated() { dx[cell] += dy[i] }
            g.add(0, x.filled(dx))
        }
    }
}
