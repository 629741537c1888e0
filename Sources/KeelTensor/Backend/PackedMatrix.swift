import CKernels
import KeelCore

/// A matrix laid out so that products read it as one stream: panels of 64 columns, one step of k after the other.
///
/// A row of a product has the same bits whatever rows it comes with, and whether the matrix was packed for this
/// product or long before. It does not follow the tensor it was made of.
package final class PackedMatrix: @unchecked Sendable {
    private let storage: Storage
    /// Columns of a product.
    let n: Int
    /// Columns of what is multiplied.
    let k: Int
    let dtype: DType

    /// Rows that the kernel takes at once.
    private static let height = 6
    /// Of these, a tile has at most so many: their rows stay in the second cache while panels go by.
    private static let tileHeights = 16

    /// Whether this machine multiplies so faster than by oneDNN.
    ///
    /// - Parameter k: columns of the left factor.
    static func isFast(_ dtype: DType, k: Int, _ device: Device) -> Bool {
        guard dtype == .f32 || dtype == .bf16, k > 0 else { return false }
        return ck_has_products(device.isa.rawValue, dtype.code) != 0
            && (dtype == .f32 || k % 2 == 0)
    }

    /// Bytes of a packed matrix.
    package static func bytes(n: Int, k: Int, _ dtype: DType) -> Int {
        Int(ck_packed_bytes(Int64(n), Int64(k), dtype.code))
    }

    /// The weight as the right factor of products without gradient; nil where nothing is gained by it.
    ///
    /// - Parameter transposed: the weight is `[n, k]`, else `[k, n]`.
    package static func make(_ weight: Tensor, transposed: Bool) -> PackedMatrix? {
        let w = weight.detach()
        guard w.rank == 2, isFast(w.dtype, k: transposed ? w.columns : w.rows, w.device) else {
            return nil
        }
        return PackedMatrix(w, transposed: transposed)
    }

    init(_ w: Tensor, transposed: Bool) {
        n = transposed ? w.rows : w.columns
        k = transposed ? w.columns : w.rows
        dtype = w.dtype
        storage = Storage(bytes: max(64, PackedMatrix.bytes(n: n, k: k, w.dtype)), device: w.device)
        let (n, k, base) = (n, k, storage.base)
        Tiles.evenly(w.device, panels, most: 8) { start, count in
            ck_pack(
                base, w.raw, Int64(w.columns), transposed ? 1 : 0, Int64(n), Int64(k), Int64(start),
                Int64(start + count), w.dtype.code)
        }
        withExtendedLifetime(w) {}
    }

    private var panels: Int { (n + Int(CK_PANEL) - 1) / Int(CK_PANEL) }

    /// y = x times the matrix, plus the bias, plus the addends.
    ///
    /// Without a bias the sum of all is rounded once; with one the addends are added to what it gave, one by one.
    ///
    /// - Parameters:
    ///   - y: `[rows, n]`, the type of x or its accumulator.
    ///   - x: `[rows, k]`.
    ///   - addends: of y's shape and type, in other memory; two at most.
    func multiply(_ y: Tensor, _ x: Tensor, bias: Tensor? = nil, adding addends: [Tensor] = []) {
        precondition(
            x.columns == k && y.columns == n && x.rows == y.rows && x.dtype == dtype
                && (y.dtype == dtype || y.dtype == dtype.accumulator)
                && (bias == nil || y.dtype == dtype) && addends.count <= Int(CK_ADDENDS)
                && addends.allSatisfy { $0.count == y.count && $0.dtype == y.dtype },
            "\(x.shape) \(x.dtype) times (\(k), \(n)) \(dtype) to \(y.shape) \(y.dtype)")
        let heights = (x.rows + PackedMatrix.height - 1) / PackedMatrix.height
        let few = 2 * PackedMatrix.tileHeights
        let blocks = Tiles.Cut(
            heights, most: PackedMatrix.tileHeights,
            threads: heights > few ? x.device.pool.threads : 1)
        // Few rows: several tiles share them. The cut never changes a cell.
        let width = heights > few ? panels : max(1, min(8, (panels + 3) / 4))
        let groups = (panels + width - 1) / width
        x.device.pool.parallelFor(blocks.pieces * groups) { tile in
            let block = blocks[tile / groups]
            let start = block.lowerBound * PackedMatrix.height
            let count = min(x.rows, block.upperBound * PackedMatrix.height) - start
            let panel = tile % groups * width
            tileProduct(
                y, x, start, count, panel..<min(panel + width, panels), accumulate: false,
                adding: bias == nil ? addends : [])
        }
        if let bias {
            Tiles.overRows(x.device, x.rows, columns: n) { start, count in
                x.kernels.pointee.add_bias(y.row(start), bias.raw, Int64(count), Int64(n))
                for d in addends {
                    x.kernels.pointee.add(
                        y.row(start), y.row(start), d.row(start), Int64(count * n))
                }
            }
        }
        withExtendedLifetime((y, x, bias, addends)) {}
    }

    /// y += x times the matrix on the calling thread; y in f32.
    func add(to y: Tensor, _ x: Tensor) {
        precondition(
            x.columns == k && y.shape == [x.rows, n] && x.dtype == dtype && y.dtype == .f32,
            "\(x.shape) \(x.dtype) times (\(k), \(n)) \(dtype) added to \(y.shape) \(y.dtype)")
        tileProduct(y, x, 0, x.rows, 0..<panels, accumulate: true)
        withExtendedLifetime((y, x)) {}
    }

    private func tileProduct(
        _ y: Tensor, _ x: Tensor, _ start: Int, _ count: Int, _ panels: Range<Int>,
        accumulate: Bool, adding addends: [Tensor] = []
    ) {
        func addend(_ i: Int) -> UnsafeRawPointer? {
            i < addends.count ? UnsafeRawPointer(addends[i].row(start)) : nil
        }
        ck_packed_product(
            y.row(start), Int64(n), y.dtype.code, x.row(start), Int64(k), storage.base,
            Int64(count),
            Int64(n), Int64(k), Int64(panels.lowerBound), Int64(panels.upperBound), dtype.code,
            accumulate ? 1 : 0, [addend(0), addend(1)])
    }
}
