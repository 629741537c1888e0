import CDNNL
import CKernels
import Glibc
import KeelCore

/// Matrix products: oneDNN one thread at a time on tiles of our own, plain loops for f64.
enum Matmul {
    /// Rows of one tile; oneDNN is at its best from 64 on.
    static let tileRows = 128

    /// oneDNN must not start threads of its own from the calling thread.
    static func enterThread() { setThreads?(1) }

    /// `omp_set_num_threads` of the OpenMP runtime oneDNN brought along: for regions the calling thread opens.
    private static let setThreads: (@convention(c) @Sendable (Int32) -> Void)? = {
        guard let symbol = dlsym(nil, "omp_set_num_threads") else { return nil }
        return unsafeBitCast(symbol, to: (@convention(c) @Sendable (Int32) -> Void).self)
    }()

    /// y = x w^T (`transposed`: w is `[n, k]`) or x w (w is `[k, n]`), plus the bias, plus the addends.
    ///
    /// The bits of a row depend neither on the other rows nor on how many there are. Where a packed product has no
    /// bias, the sum is rounded once, elsewhere after each part.
    ///
    /// - Parameters:
    ///   - y: `[m, n]`, the type of x or its accumulator.
    ///   - x: `[m, k]`.
    ///   - addends: of y's shape and type, in other memory; two at most.
    static func rows(
        _ y: Tensor, _ x: Tensor, _ w: Tensor, transposed: Bool, bias: Tensor? = nil,
        adding addends: [Tensor] = []
    ) {
        let (m, k, n) = (x.rows, x.columns, y.columns)
        precondition(
            w.shape == (transposed ? [n, k] : [k, n]) && y.rows == m && w.dtype == x.dtype,
            "\(x.shape) \(x.dtype) times \(w.shape) \(w.dtype), transposed \(transposed), to \(y.shape)"
        )
        precondition(bias == nil || y.dtype == x.dtype, "a bias for \(y.dtype) from \(x.dtype)")
        StageClock.measure(.products, flops: 2 * Double(x.count) * Double(n)) {
            if PackedMatrix.isFast(x.dtype, k: k, x.device) {
                guard m > 0 else { return }
                return PackedMatrix(w, transposed: transposed).multiply(
                    y, x, bias: bias, adding: addends)
            }
            product(y, x, w, transposed: transposed, bias: bias)
            for d in addends { Kernels.add(y, d, into: y) }
        }
    }

    private static func product(
        _ y: Tensor, _ x: Tensor, _ w: Tensor, transposed: Bool, bias: Tensor?
    ) {
        let (m, k, n) = (x.rows, x.columns, y.columns)
        defer { withExtendedLifetime((y, x, w, bias)) {} }
        if x.dtype == .f64 {
            Tiles.over(x.device, m, size: 16) { start, count in
                x.kernels.pointee.gemm(
                    y.row(start), Int64(n), x.row(start), Int64(k), 1, w.raw,
                    transposed ? 1 : Int64(n),
                    transposed ? Int64(k) : 1, Int64(count), Int64(n), Int64(k), 0)
                if let bias {
                    x.kernels.pointee.add_bias(y.row(start), bias.raw, Int64(count), Int64(n))
                }
            }
            return
        }
        if widens(x) {
            let z = y.dtype == .f32 ? y : Tensor(uninitialized: y.shape, .f32, y.device)
            rows(
                z, wide(x), wide(w), transposed: transposed, bias: bias.map { wide($0) })
            if y.dtype == .bf16 { Memory.copy(z, into: y) }
            return
        }
        let pieces = split(m)
        // Wide products are cut in columns too: a few rows then still make several tiles. The cuts depend on
        // n alone, because oneDNN's order of summation depends on the width.
        let width = n >= 1024 ? 512 : n
        let plans = pieces.map { piece in
            stride(from: 0, to: n, by: width).map { from in
                let key = Primitive.Key(
                    m: piece.padded, n: min(width, n - from), k: k, ldb: transposed ? k : n, ldc: n,
                    transposed: transposed, source: x.dtype, result: y.dtype)
                return (from, Primitive.get(key, x.device))
            }
        }
        let perRow = (n + width - 1) / width
        x.device.pool.parallelFor(pieces.count * perRow) { tile in
            let (start, count, padded) = pieces[tile / perRow]
            let (from, primitive) = plans[tile / perRow][tile % perRow]
            let weights = w.raw + from * (transposed ? k : 1) * w.dtype.size
            if count == padded {
                primitive.run(x.row(start), weights, y.row(start) + from * y.dtype.size)
            } else {
                let input = Storage(bytes: padded * k * x.dtype.size, device: x.device)
                let output = Storage(bytes: padded * n * y.dtype.size, device: x.device)
                let filled = count * k * x.dtype.size
                memcpy(input.base, x.row(start), filled)
                memset(input.base + filled, 0, (padded - count) * k * x.dtype.size)
                primitive.run(input.base, weights, output.base + from * y.dtype.size)
                for row in 0..<count {
                    let at = (row * n + from) * y.dtype.size
                    memcpy(y.row(start) + at, output.base + at, min(width, n - from) * y.dtype.size)
                }
                withExtendedLifetime((input, output)) {}
            }
            if perRow == 1, let bias {
                x.kernels.pointee.add_bias(y.row(start), bias.raw, Int64(count), Int64(n))
            }
        }
        if perRow > 1, let bias {
            Tiles.overRows(x.device, m, columns: n) { start, count in
                x.kernels.pointee.add_bias(y.row(start), bias.raw, Int64(count), Int64(n))
            }
        }
    }

    /// Tiles of 128 rows, then one of a multiple of 16, then the rest padded to 16: eight primitives serve
    /// all counts, and oneDNN sums in one order for all of them (its kernels for fewer rows do not).
    private static func split(_ m: Int) -> [(start: Int, count: Int, padded: Int)] {
        var pieces: [(start: Int, count: Int, padded: Int)] = []
        pieces.reserveCapacity(m / tileRows + 2)
        var start = 0
        while m - start >= tileRows {
            pieces.append((start, tileRows, tileRows))
            start += tileRows
        }
        let even = (m - start) & ~15
        if even > 0 { pieces.append((start, even, even)) }
        start += even
        if start < m { pieces.append((start, m - start, 16)) }
        return pieces
    }

    /// c += a^T b: the gradient of a weight from the rows of two activations.
    ///
    /// - Parameters:
    ///   - c: `[m, n]`, f32 (f64 under f64).
    ///   - a: `[rows, m]`.
    ///   - b: `[rows, n]`, like a.
    static func addTransposed(_ c: Tensor, _ a: Tensor, _ b: Tensor) {
        let (m, n, k) = (a.columns, b.columns, a.rows)
        precondition(
            c.count == m * n && b.rows == k && a.dtype == b.dtype && c.dtype == a.dtype.accumulator,
            "\(a.shape)^T \(b.shape) to \(c.shape)")
        guard k > 0 else { return }
        if widens(a) { return addTransposed(c, wide(a), wide(b)) }
        let size = m >= 512 ? 128 : max(16, (m / 4 + 15) & ~15)
        StageClock.measure(.products, flops: 2 * Double(m) * Double(n) * Double(k)) {
            if PackedMatrix.isFastGradient(a, n: n) {
                return PackedMatrix.addGradient(c, a, b)
            }
            Tiles.over(a.device, m, size: size) { start, count in
                add(
                    c.raw + start * n * c.dtype.size, a.cell(start), lda: m, transposed: true,
                    b.raw, m: count, n: n, k: k, like: a)
            }
        }
        withExtendedLifetime((a, b, c)) {}
    }

    /// c += a b on the calling thread; c in f32 (f64 under f64).
    ///
    /// - Parameter packed: b, where it was packed before.
    static func addProduct(_ c: Tensor, _ a: Tensor, _ b: Tensor, packed: PackedMatrix? = nil) {
        if let packed { return packed.add(to: c, a) }
        precondition(
            a.columns == b.rows && c.shape == [a.rows, b.columns] && a.dtype == b.dtype
                && c.dtype == a.dtype.accumulator, "\(a.shape) \(b.shape) to \(c.shape)")
        let (left, right) = widens(a) ? (wide(a), wide(b)) : (a, b)
        add(
            c.raw, left.raw, lda: left.columns, transposed: false, right.raw, m: c.rows,
            n: c.columns,
            k: left.columns, like: left)
        withExtendedLifetime((c, left, right)) {}
    }

    /// True where bf16 products are taken in f32: oneDNN has bf16 for AVX-512 only.
    private static func widens(_ x: Tensor) -> Bool {
        x.dtype == .bf16 && x.device.isa.rawValue < ISA.avx512.rawValue
    }

    private static func wide(_ x: Tensor) -> Tensor { Memory.converted(x, .f32) }

    /// c (m, n) += op(a) b on the calling thread, cells of a and b as in `like`, rows of b and c dense;
    /// `transposed`: a is (k, m).
    private static func add(
        _ c: UnsafeMutableRawPointer, _ a: UnsafeMutableRawPointer, lda: Int, transposed: Bool,
        _ b: UnsafeMutableRawPointer, m: Int, n: Int, k: Int, like: Tensor
    ) {
        enterThread()
        let (rows, columns, depth, stride) = (Int64(m), Int64(n), Int64(k), Int64(lda))
        let flag = CChar(bitPattern: UInt8(ascii: transposed ? "T" : "N"))
        let plain = CChar(bitPattern: UInt8(ascii: "N"))
        switch like.dtype {
        case .f32:
            let status = dnnl_sgemm(
                flag, plain, rows, columns, depth, 1, a.assumingMemoryBound(to: Float.self), stride,
                b.assumingMemoryBound(to: Float.self), columns, 1,
                c.assumingMemoryBound(to: Float.self), columns)
            precondition(status == dnnl_success, "sgemm \(m) \(n) \(k): status \(status.rawValue)")
        case .bf16:
            let status = dnnl_gemm_bf16bf16f32(
                flag, plain, rows, columns, depth, 1, a.assumingMemoryBound(to: UInt16.self),
                stride,
                b.assumingMemoryBound(to: UInt16.self), columns, 1,
                c.assumingMemoryBound(to: Float.self), columns)
            precondition(
                status == dnnl_success, "bf16 gemm \(m) \(n) \(k): status \(status.rawValue)")
        default:
            like.kernels.pointee.gemm(
                c, columns, a, transposed ? 1 : stride, transposed ? stride : 1, b, columns, 1,
                rows,
                columns, depth, 1)
        }
    }
}

/// A oneDNN matmul for one shape, made once and run from any thread.
final class Primitive: @unchecked Sendable {
    struct Key: Hashable {
        let m: Int, n: Int, k: Int, ldb: Int, ldc: Int
        let transposed: Bool
        let source: DType, result: DType
    }

    /// What one running call needs for itself.
    private struct Slot: @unchecked Sendable {
        let stream: dnnl_stream_t
        let memories: (dnnl_memory_t, dnnl_memory_t, dnnl_memory_t)
        /// Scratch memory of the call: the library's own is not made for several threads.
        let scratch: dnnl_memory_t
    }

    private let primitive: dnnl_primitive_t
    private let descriptors: (dnnl_memory_desc_t, dnnl_memory_desc_t, dnnl_memory_desc_t)
    private let scratchDescriptor: dnnl_memory_desc_t
    private let slots = Guarded<[Slot]>([])

    private struct Engine: @unchecked Sendable { let handle: dnnl_engine_t }

    /// oneDNN's one processor.
    private static let engine: Engine = {
        var handle: dnnl_engine_t?
        check(dnnl_engine_create(&handle, dnnl_cpu, 0), "engine")
        return Engine(handle: present(handle))
    }()

    /// The primitive of a shape, from the device's cache.
    static func get(_ key: Key, _ device: Device) -> Primitive {
        if let kept = device.cache.primitives.withLock({ $0[key] }) { return kept }
        let made = Primitive(key)
        device.cache.primitives.withLock { $0[key] = made }
        return made
    }

    private init(_ key: Key) {
        Matmul.enterThread()
        let a = Primitive.describe(key.m, key.k, key.k, 1, key.source)
        let b = Primitive.describe(
            key.k, key.n, key.transposed ? 1 : key.ldb, key.transposed ? key.ldb : 1, key.source)
        let c = Primitive.describe(key.m, key.n, key.ldc, 1, key.result)
        descriptors = (a, b, c)
        var matmul = dnnl_matmul_desc_t()
        var (x, w, y) = (a, b, c)
        Primitive.check(dnnl_matmul_desc_init(&matmul, &x, &w, nil, &y), "matmul \(key)")
        var attributes: dnnl_primitive_attr_t?
        Primitive.check(dnnl_primitive_attr_create(&attributes), "attributes")
        defer { dnnl_primitive_attr_destroy(attributes) }
        Primitive.check(
            dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user),
            "scratchpad")
        var description: dnnl_primitive_desc_t?
        Primitive.check(
            dnnl_primitive_desc_create(
                &description, &matmul, attributes, Primitive.engine.handle, nil),
            "matmul \(key)")
        var handle: dnnl_primitive_t?
        Primitive.check(dnnl_primitive_create(&handle, description), "matmul \(key)")
        if let scratch = dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0) {
            scratchDescriptor = scratch.pointee
        } else {
            scratchDescriptor = dnnl_memory_desc_t()
        }
        dnnl_primitive_desc_destroy(description)
        primitive = Primitive.present(handle)
    }

    deinit {
        for slot in slots.withLock({ $0 }) {
            dnnl_memory_destroy(slot.memories.0)
            dnnl_memory_destroy(slot.memories.1)
            dnnl_memory_destroy(slot.memories.2)
            dnnl_memory_destroy(slot.scratch)
            dnnl_stream_destroy(slot.stream)
        }
        dnnl_primitive_destroy(primitive)
    }

    /// c = a b on the calling thread.
    func run(
        _ a: UnsafeMutableRawPointer, _ b: UnsafeMutableRawPointer, _ c: UnsafeMutableRawPointer
    ) {
        Matmul.enterThread()
        let slot = slots.withLock { $0.popLast() } ?? makeSlot()
        dnnl_memory_set_data_handle(slot.memories.0, a)
        dnnl_memory_set_data_handle(slot.memories.1, b)
        dnnl_memory_set_data_handle(slot.memories.2, c)
        withUnsafeTemporaryAllocation(of: dnnl_exec_arg_t.self, capacity: 4) { arguments in
            arguments[0] = dnnl_exec_arg_t(arg: DNNL_ARG_SRC_0, memory: slot.memories.0)
            arguments[1] = dnnl_exec_arg_t(arg: DNNL_ARG_WEIGHTS_0, memory: slot.memories.1)
            arguments[2] = dnnl_exec_arg_t(arg: DNNL_ARG_DST_0, memory: slot.memories.2)
            arguments[3] = dnnl_exec_arg_t(arg: DNNL_ARG_SCRATCHPAD, memory: slot.scratch)
            Primitive.check(
                dnnl_primitive_execute(primitive, slot.stream, 4, arguments.baseAddress), "matmul")
        }
        slots.withLock { $0.append(slot) }
    }

    private func makeSlot() -> Slot {
        var stream: dnnl_stream_t?
        let engine = Primitive.engine.handle
        Primitive.check(
            dnnl_stream_create(&stream, engine, dnnl_stream_default_flags.rawValue), "stream")
        func memory(_ descriptor: dnnl_memory_desc_t, own: Bool = false) -> dnnl_memory_t {
            var descriptor = descriptor
            var memory: dnnl_memory_t?
            // -1: oneDNN allocates.
            let handle = own ? UnsafeMutableRawPointer(bitPattern: -1) : nil
            Primitive.check(dnnl_memory_create(&memory, &descriptor, engine, handle), "memory")
            return Primitive.present(memory)
        }
        return Slot(
            stream: Primitive.present(stream),
            memories: (memory(descriptors.0), memory(descriptors.1), memory(descriptors.2)),
            scratch: memory(scratchDescriptor, own: true))
    }

    private static func describe(
        _ rows: Int, _ columns: Int, _ rowStride: Int, _ columnStride: Int, _ dtype: DType
    )
        -> dnnl_memory_desc_t
    {
        var descriptor = dnnl_memory_desc_t()
        let lengths = [Int64(rows), Int64(columns)]
        let strides = [Int64(rowStride), Int64(columnStride)]
        let type = dtype == .bf16 ? dnnl_bf16 : dnnl_f32
        check(dnnl_memory_desc_init_by_strides(&descriptor, 2, lengths, type, strides), "layout")
        return descriptor
    }

    private static func check(_ status: dnnl_status_t, _ what: @autoclosure () -> String) {
        precondition(status == dnnl_success, "oneDNN: \(what()): status \(status.rawValue)")
    }

    private static func present<Value>(_ value: Value?) -> Value {
        guard let value else { preconditionFailure("oneDNN gave no handle") }
        return value
    }
}
