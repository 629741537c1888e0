/// Columns that several calls gave for their own rows, as one for all rows.
enum RowColumns {
    /// - Parameters:
    ///   - parts: a column and the rows it is for.
    ///   - rows: how many there are; those without a part get NaN, or 0 in a column of integers.
    static func join(
        _ parts: [(name: String, column: Column, rows: [Int])], rows: Int
    ) -> [String: Column] {
        var out: [String: Column] = [:]
        for name in Set(parts.map(\.name)) {
            let own = parts.filter { $0.name == name }
            if own.count == 1, own[0].rows == Array(0..<rows) {
                out[name] = own[0].column
                continue
            }
            // Behind the first axis the longest of each: shorter ones end in zeros.
            let depth = own.map(\.column.shape.count).max() ?? 1
            let tail = (1..<max(depth, 1)).map { axis in
                own.map { $0.column.shape.count > axis ? $0.column.shape[axis] : 1 }.max() ?? 1
            }
            let width = tail.reduce(1, *)
            let isInteger = own.allSatisfy(\.column.isInteger)
            var cells = [Double](repeating: isInteger ? 0 : .nan, count: rows * width)
            for (_, column, numbers) in own {
                let inner = Array(column.shape.dropFirst())
                let from = inner.reduce(1, *)
                let values = column.values
                for (at, row) in numbers.enumerated() {
                    for cell in 0..<width { cells[row * width + cell] = 0 }
                    for cell in 0..<from {
                        cells[row * width + place(of: cell, inner, tail)] = values[at * from + cell]
                    }
                }
            }
            let shape = [rows] + tail
            out[name] =
                isInteger
                ? Column(shape: shape, ints: cells.map { Int32($0) })
                : Column(shape: shape, cells)
        }
        return out
    }

    /// Where a cell of one row-major shape lies in a larger one.
    private static func place(of cell: Int, _ shape: [Int], _ larger: [Int]) -> Int {
        var rest = cell
        var at = 0
        var stride = 1
        for axis in larger.indices.reversed() {
            let length = axis < shape.count ? shape[axis] : 1
            at += (rest % max(1, length)) * stride
            rest /= max(1, length)
            stride *= larger[axis]
        }
        return at
    }
}
