extension Tensor {
    /// Sorted along an axis, ascending and stable (NaN last); the gradient follows the cells.
    package func sort(axis: Int = -1, descending: Bool = false) -> Tensor {
        alongLines(
            axis,
            { x in sortedOrder(x, descending).map { x[$0] } },
            back: { dy, x, _ in
                var dx = dy
                for (to, from) in sortedOrder(x, descending).enumerated() { dx[from] = dy[to] }
                return dx
            })
    }
}

private func sortedOrder(_ x: [Double], _ descending: Bool) -> [Int] {
    x.indices.sorted { a, b in
        if x[a].isNaN || x[b].isNaN { return x[a].isNaN == x[b].isNaN ? a < b : x[b].isNaN }
        return x[a] == x[b] ? a < b : descending ? x[a] > x[b] : x[a] < x[b]
    }
}
