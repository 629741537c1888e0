import Glibc

extension Memory {
    /// Copies `count` columns of every row, from column `from` of `source` to column `to` of `target`.
    static func copyColumns(
        of source: Tensor, _ from: Int, into target: Tensor, _ to: Int, _ count: Int
    ) {
        precondition(
            source.rows == target.rows && source.dtype == target.dtype
                && from + count <= source.columns
                && to + count <= target.columns,
            "\(count) columns of \(source.shape) into \(target.shape)")
        guard count > 0 else { return }
        let size = source.dtype.size
        Tiles.overRows(source.device, source.rows, columns: count) { first, rows in
            for row in first..<first + rows {
                memcpy(
                    target.raw + (row * target.columns + to) * size,
                    source.raw + (row * source.columns + from) * size, count * size)
            }
        }
        withExtendedLifetime((source, target)) {}
    }
}
