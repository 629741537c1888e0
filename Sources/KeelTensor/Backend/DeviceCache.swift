import CKernels
import Glibc
import Synchronization

/// What a device keeps between calls: its kernel tables, matmul primitives and rotation tables.
final class DeviceCache: @unchecked Sendable {
    /// Kernels by type code.
    let tables: [UnsafePointer<ck_table>]
    let primitives = Mutex<[Primitive.Key: Primitive]>([:])
    private let rotations = Mutex<[RotationKey: Rotation]>([:])

    init(isa: ISA) {
        tables = [CK_F32, CK_F64, CK_BF16].map { type in
            guard let table = ck_kernels(isa.rawValue, Int32(type)) else {
                preconditionFailure("no kernels for \(isa), type \(type)")
            }
            return table
        }
    }

    /// cos and sin of the angles of positions 0, 1, ...: `[positions, half]`, times the scale.
    struct Rotation: Sendable {
        let cos: Tensor
        let sin: Tensor
    }

    private struct RotationKey: Hashable {
        let frequencies: [Float]
        let scale: Float
        let dtype: DType
    }

    /// The rotation table for at least `positions` positions, in `dtype` (f32 or f64).
    func rotation(_ frequencies: [Float], _ scale: Float, _ dtype: DType, positions: Int, _ device: Device)
        -> Rotation
    {
        let key = RotationKey(frequencies: frequencies, scale: scale, dtype: dtype)
        if let kept = rotations.withLock({ $0[key] }), kept.cos.rows >= positions { return kept }
        var count = 256
        while count < positions { count *= 2 }
        var cosines: [Double] = []
        var sines: [Double] = []
        cosines.reserveCapacity(count * frequencies.count)
        sines.reserveCapacity(count * frequencies.count)
        for position in 0..<count {
            for frequency in frequencies {
                // f32 models were trained with angles rounded to f32.
                let angle =
                    dtype == .f64
                    ? Double(position) * Double(frequency) : Double(Float(position) * frequency)
                cosines.append(Glibc.cos(angle) * Double(scale))
                sines.append(Glibc.sin(angle) * Double(scale))
            }
        }
        let shape = [count, frequencies.count]
        let made = Rotation(
            cos: Tensor(cosines, shape: shape, dtype: dtype, device: device),
            sin: Tensor(sines, shape: shape, dtype: dtype, device: device))
        rotations.withLock { $0[key] = made }
        return made
    }

    /// Tensors kept here know their device: dropping them ends the cycle.
    func clear() { rotations.withLock { $0 = [:] } }
}

extension Tensor {
    /// The kernels for this tensor's cells.
    var kernels: UnsafePointer<ck_table> { device.cache.tables[Int(dtype.code)] }

    /// The first cell of row `row`.
    func row(_ row: Int) -> UnsafeMutableRawPointer { raw + row * columns * dtype.size }

    /// Cell number `cell`.
    func cell(_ cell: Int) -> UnsafeMutableRawPointer { raw + cell * dtype.size }
}
