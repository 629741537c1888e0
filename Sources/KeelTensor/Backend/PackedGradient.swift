import CKernels
import KeelCore

/// Gradients of weights by packed products.
extension PackedMatrix {
    /// Rows of both sides that are packed at once, to be read again while the caches hold them.
    private static let gradientRows = 512

    /// Whether c += a^T b is faster so than by oneDNN: not for a few columns, which would be padded to a panel.
    ///
    /// The f32 products of oneDNN are as fast.
    static func isFastGradient(_ a: Tensor, n: Int) -> Bool {
        a.dtype == .bf16 && n > Int(CK_PANEL) / 2
            && ck_has_products(a.device.isa.rawValue, a.dtype.code) != 0
    }

    /// c += a^T b, a cell as sums over 256 rows, each a chain of dot products of pairs of rows in order.
    ///
    /// - Parameters:
    ///   - c: `[m, n]`, f32.
    ///   - a: `[rows, m]`, bf16.
    ///   - b: `[rows, n]`, bf16.
    static func addGradient(_ c: Tensor, _ a: Tensor, _ b: Tensor) {
        precondition(
            c.count == a.columns * b.columns && a.rows == b.rows && a.dtype == .bf16
                && b.dtype == .bf16 && c.dtype == .f32,
            "\(a.shape)^T \(b.shape) to \(c.shape)")
        let most = min(gradientRows, a.rows)
        let left = room(a, rows: most)
        let right = room(b, rows: most)
        let (m, n) = (a.columns, b.columns)
        let (group, panel) = (Int(CK_GROUP), Int(CK_PANEL))
        let (groups, panels) = ((m + group - 1) / group, (n + panel - 1) / panel)
        // A tile of the result: groups by panels; of packing: some 256 columns.
        let threads = a.device.pool.threads
        let down = Tiles.Cut(groups, most: 4, threads: 1)
        let across = Tiles.Cut(
            panels, most: 8, threads: down.pieces.isMultiple(of: threads) ? 1 : threads)
        let packing = (groups: 256 / group, panels: 256 / panel)
        let packedLeft = (groups + packing.groups - 1) / packing.groups
        let packedRight = (panels + packing.panels - 1) / packing.panels
        for start in stride(from: 0, to: a.rows, by: gradientRows) {
            let count = min(gradientRows, a.rows - start)
            a.device.pool.parallelFor(packedLeft + packedRight) { i in
                if i < packedLeft {
                    let first = i * packing.groups
                    ck_pack_left(
                        left.base, a.row(start).assumingMemoryBound(to: UInt16.self), Int64(m),
                        Int64(m), Int64(count), Int64(first),
                        Int64(min(first + packing.groups, groups)))
                } else {
                    let first = (i - packedLeft) * packing.panels
                    ck_pack(
                        right.base, b.row(start), Int64(n), 0, Int64(n), Int64(count), Int64(first),
                        Int64(min(first + packing.panels, panels)), b.dtype.code)
                }
            }
            a.device.pool.parallelFor(down.pieces * across.pieces) { i in
                let some = down[i / across.pieces]
                let columns = across[i % across.pieces]
                ck_packed_gradient(
                    c.raw.assumingMemoryBound(to: Float.self), Int64(n), left.base, right.base,
                    Int64(m), Int64(n), Int64(count),
                    [Int64(some.lowerBound), Int64(some.upperBound)],
                    [Int64(columns.lowerBound), Int64(columns.upperBound)])
            }
        }
        withExtendedLifetime((a, b, c, left, right)) {}
    }

    /// Memory for some rows of a factor, packed as either side.
    private static func room(_ x: Tensor, rows: Int) -> Storage {
        Storage(bytes: max(64, bytes(n: x.columns, k: rows, x.dtype)), device: x.device)
    }
}
