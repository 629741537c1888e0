import CKernels
import Glibc
import KeelCore

/// What a device keeps between calls: its kernel tables, matmul primitives and rotation tables.
final class DeviceCache: @unchecked Sendable {
    /// Kernels by type code.
    let tables: [UnsafePointer<ck_table>]
    let primitives = Guarded<[Primitive.Key: Primitive]>([:])
    private let rotations = Guarded<[RotationKey: Rotation]>([:])

    init(isa: ISA) {
        tables = [CK_F32, CK_F64, CK_BF16].map { type in
            guard let table = ck_kernels(isa.rawValue, Int32(type)) else {
                preconditionFailure("no kernels for \(isa), type \(type)")
            }
            return table
        }
    }

    private struct RotationKey: Hashable {
        let frequencies: [Float]
        let scale: Float
        let dtype: DType
    }

    /// The rotation table for at least `positions` positions, in `dtype` (f32 or f64).
    func rotation(
        _ frequencies: [Float], _ scale: Float, _ dtype: DType, positions: Int
    ) -> Rotation {
        let key = RotationKey(frequencies: frequencies, scale: scale, dtype: dtype)
        if let kept = rotations.withLock({ $0[key] }), kept.positions >= positions { return kept }
        var count = 256
        while count < positions { count *= 2 }
        let made = Rotation(frequencies, scale, dtype, positions: count)
        rotations.withLock { $0[key] = made }
        return made
    }

    /// Drops the tables; they are made again when needed.
    func clear() { rotations.withLock { $0 = [:] } }
}

/// cos and sin of the angles of positions 0, 1, ..., times the scale: `[positions, half]` in f32 or f64.
///
/// Memory of its own: a tensor would keep its device alive, and the device keeps this.
final class Rotation: @unchecked Sendable {
    let positions: Int
    let cos: UnsafeMutableRawPointer
    let sin: UnsafeMutableRawPointer

    init(_ frequencies: [Float], _ scale: Float, _ dtype: DType, positions: Int) {
        self.positions = positions
        let count = positions * frequencies.count
        cos = .allocate(byteCount: max(64, count * dtype.size), alignment: 64)
        sin = .allocate(byteCount: max(64, count * dtype.size), alignment: 64)
        var cosines: [Double] = []
        var sines: [Double] = []
        cosines.reserveCapacity(count)
        sines.reserveCapacity(count)
        for position in 0..<positions {
            for frequency in frequencies {
                // f32 models were trained with angles rounded to f32.
                let angle =
                    dtype == .f64
                    ? Double(position) * Double(frequency) : Double(Float(position) * frequency)
                cosines.append(Glibc.cos(angle) * Double(scale))
                sines.append(Glibc.sin(angle) * Double(scale))
            }
        }
        ck_convert(cos, dtype.code, cosines, DType.f64.code, Int64(count))
        ck_convert(sin, dtype.code, sines, DType.f64.code, Int64(count))
    }

    deinit {
        cos.deallocate()
        sin.deallocate()
    }
}

extension Tensor {
    /// The kernels for this tensor's cells.
    var kernels: UnsafePointer<ck_table> { device.cache.tables[Int(dtype.code)] }

    /// The first cell of row `row`.
    func row(_ row: Int) -> UnsafeMutableRawPointer { raw + row * columns * dtype.size }

    /// Cell number `cell`.
    func cell(_ cell: Int) -> UnsafeMutableRawPointer { raw + cell * dtype.size }
}
