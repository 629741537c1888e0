/// Arithmetic on row-major shapes; a shape is its lengths, `[]` is one number.
package enum Shape {
    /// The number of cells.
    package static func count(_ shape: [Int]) -> Int { shape.reduce(1, *) }

    /// Cells between neighbours along each axis.
    package static func strides(_ shape: [Int]) -> [Int] {
        var strides = [Int](repeating: 1, count: shape.count)
        for i in stride(from: shape.count - 2, through: 0, by: -1) {
            strides[i] = strides[i + 1] * shape[i + 1]
        }
        return strides
    }

    /// The common shape of `a` and `b` by numpy's rules, or nil when they do not fit.
    package static func broadcast(_ a: [Int], _ b: [Int]) -> [Int]? {
        let rank = max(a.count, b.count)
        var result = [Int](repeating: 1, count: rank)
        for i in 0..<rank {
            let m = i < rank - a.count ? 1 : a[i - (rank - a.count)]
            let n = i < rank - b.count ? 1 : b[i - (rank - b.count)]
            guard m == n || m == 1 || n == 1 else { return nil }
            result[i] = m == 1 ? n : m
        }
        return result
    }

    /// The axis counted from the front, or nil when the shape has no such axis.
    package static func axis(_ axis: Int, rank: Int) -> Int? {
        let index = axis < 0 ? axis + rank : axis
        return index >= 0 && index < rank ? index : nil
    }

    /// Strides that walk `shape` while the result walks `target`: 0 along broadcast axes.
    static func broadcastStrides(_ shape: [Int], to target: [Int]) -> [Int] {
        let own = strides(shape)
        let lead = target.count - shape.count
        return (0..<target.count).map { i in
            i < lead || shape[i - lead] == 1 ? 0 : own[i - lead]
        }
    }

    /// For each cell of `target`, the index of the cell of `shape` it comes from.
    static func broadcastIndices(_ shape: [Int], to target: [Int]) -> [Int] {
        indices(target, strides: broadcastStrides(shape, to: target))
    }

    /// Walks `shape` in row-major order and lists the offsets that `strides` give.
    static func indices(_ shape: [Int], strides: [Int]) -> [Int] {
        var result = [Int](repeating: 0, count: count(shape))
        guard !result.isEmpty, let last = shape.last, let step = strides.last else { return result }
        var place = [Int](repeating: 0, count: shape.count)
        var base = 0
        var i = 0
        while i < result.count {
            for j in 0..<last { result[i + j] = base + j * step }
            i += last
            var axis = shape.count - 2
            while axis >= 0 {
                place[axis] += 1
                base += strides[axis]
                if place[axis] < shape[axis] { break }
                base -= strides[axis] * shape[axis]
                place[axis] = 0
                axis -= 1
            }
        }
        return result
    }

    /// Lengths before, of and after an axis: cell (o, a, i) lies at `(o * length + a) * inner + i`.
    static func split(_ shape: [Int], axis: Int) -> (outer: Int, length: Int, inner: Int) {
        (count(Array(shape[..<axis])), shape[axis], count(Array(shape[(axis + 1)...])))
    }
}
