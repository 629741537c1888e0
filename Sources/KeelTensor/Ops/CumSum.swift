extension Tensor {
    /// The running sum along an axis, this cell included; `reverse`: from the end.
    package func cumsum(axis: Int = -1, reverse: Bool = false) -> Tensor {
        alongLines(
            axis, { running($0, reverse: reverse) },
            back: { dy, _, _ in running(dy, reverse: !reverse) })
    }
}

private func running(_ x: [Double], reverse: Bool) -> [Double] {
    var sum = 0.0
    if reverse {
        return x.reversed().map { value in
            sum += value
            return sum
        }.reversed()
    }
    return x.map { value in
        sum += value
        return sum
    }
}
