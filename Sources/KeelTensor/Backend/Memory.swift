import CKernels
import Glibc
import KeelCore

extension DType {
    /// The code the kernels know the type by.
    var code: Int32 {
        switch self {
        case .f32: Int32(CK_F32)
        case .f64: Int32(CK_F64)
        case .bf16: Int32(CK_BF16)
        case .i32: Int32(CK_I32)
        }
    }
}

/// Moving cells about: fill, copy, convert, add.
enum Memory {
    /// Cells per tile of work that is handed to a thread; never depends on the number of threads.
    static let tile = 1 << 16

    static func zero(_ t: Tensor) {
        StageClock.measure(.elementwise) { _ = memset(t.raw, 0, t.count * t.dtype.size) }
        withExtendedLifetime(t) {}
    }

    static func fill(_ t: Tensor, _ value: Double) {
        store([Double](repeating: value, count: t.count), t)
    }

    static func store(_ values: [Float], _ t: Tensor) {
        values.withUnsafeBytes { convert(t, from: $0.baseAddress, .f32) }
    }

    static func store(_ values: [Double], _ t: Tensor) {
        values.withUnsafeBytes { convert(t, from: $0.baseAddress, .f64) }
    }

    static func store(_ values: [Int32], _ t: Tensor) {
        values.withUnsafeBytes { convert(t, from: $0.baseAddress, .i32) }
    }

    private static func convert(_ t: Tensor, from base: UnsafeRawPointer?, _ type: DType) {
        guard let base, t.count > 0 else { return }
        ck_convert(t.raw, t.dtype.code, base, type.code, Int64(t.count))
        withExtendedLifetime(t) {}
    }

    static func floats(_ t: Tensor) -> [Float] {
        [Float](unsafeUninitializedCapacity: t.count) { buffer, count in
            count = t.count
            if let base = buffer.baseAddress { load(t, base, .f32) }
        }
    }

    static func doubles(_ t: Tensor) -> [Double] {
        [Double](unsafeUninitializedCapacity: t.count) { buffer, count in
            count = t.count
            if let base = buffer.baseAddress { load(t, base, .f64) }
        }
    }

    static func ints(_ t: Tensor) -> [Int32] {
        [Int32](unsafeUninitializedCapacity: t.count) { buffer, count in
            count = t.count
            if let base = buffer.baseAddress { load(t, base, .i32) }
        }
    }

    private static func load(_ t: Tensor, _ base: UnsafeMutableRawPointer, _ type: DType) {
        ck_convert(base, type.code, t.raw, t.dtype.code, Int64(t.count))
        withExtendedLifetime(t) {}
    }

    static func bytes(_ t: Tensor) -> [UInt8] {
        defer { withExtendedLifetime(t) {} }
        return [UInt8](UnsafeRawBufferPointer(start: t.raw, count: t.count * t.dtype.size))
    }

    static func copy(_ bytes: UnsafeRawBufferPointer, into t: Tensor) {
        precondition(
            bytes.count == t.count * t.dtype.size,
            "\(bytes.count) bytes for \(t.shape) of \(t.dtype)")
        if let base = bytes.baseAddress { memcpy(t.raw, base, bytes.count) }
        withExtendedLifetime(t) {}
    }

    static func copy(_ source: Tensor, into target: Tensor) {
        let count = source.count
        let tiles = (count + tile - 1) / tile
        StageClock.measure(.elementwise) {
            target.device.pool.parallelFor(tiles) { i in
                let start = i * tile
                ck_convert(
                    target.raw + start * target.dtype.size, target.dtype.code,
                    source.raw + start * source.dtype.size, source.dtype.code,
                    Int64(min(tile, count - start)))
            }
        }
        withExtendedLifetime((source, target)) {}
    }

    static func converted(_ x: Tensor, _ dtype: DType) -> Tensor {
        let y = Tensor(uninitialized: x.shape, dtype, x.device)
        copy(x, into: y)
        return y
    }

    /// sum += x; the sum has the type of x or its accumulator.
    static func add(_ x: Tensor, into sum: Tensor) {
        Kernels.accumulate(sum, sum.dtype == x.dtype.accumulator ? x : converted(x, sum.dtype))
    }

    /// a + b of equal types and counts.
    static func sum(_ a: Tensor, _ b: Tensor) -> Tensor { Kernels.add(a, b) }
}
