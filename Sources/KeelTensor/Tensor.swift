import KeelCore

/// A block of numbers: contiguous, row-major, on one device; a value to read, never written after it is made
/// (optimizers and gradient accumulators excepted).
///
/// A tensor that came out of an operation on tracked inputs is tracked too: it knows its place on the tape.
package struct Tensor: Sendable {
    let storage: Storage
    /// First cell, in cells from the start of the storage.
    let offset: Int
    /// Lengths of the axes; `[]` is one number.
    package let shape: [Int]
    /// What a cell is stored as.
    package let dtype: DType
    /// Where the derivative goes, if anywhere.
    let place: Place?
    /// Set where a backward pass need not keep the cells.
    var origin: Origin?

    struct Place: Sendable {
        let tape: Tape
        let index: Int
    }

    init(storage: Storage, offset: Int = 0, shape: [Int], dtype: DType, place: Place? = nil) {
        self.storage = storage
        self.offset = offset
        self.shape = shape
        self.dtype = dtype
        self.place = place
    }

    /// Memory with no defined content, for kernels to fill.
    init(uninitialized shape: [Int], _ dtype: DType, _ device: Device) {
        precondition(shape.allSatisfy { $0 >= 0 }, "negative length in \(shape)")
        self.init(
            storage: Storage(bytes: max(1, Shape.count(shape)) * dtype.size, device: device),
            shape: shape, dtype: dtype)
    }

    /// All zeros.
    package init(zeros shape: [Int], dtype: DType, device: Device) {
        precondition(shape.allSatisfy { $0 >= 0 }, "negative length in \(shape)")
        let bytes = max(1, Shape.count(shape)) * dtype.size
        self.init(
            storage: StageClock.measure(.elementwise) {
                Storage(bytes: bytes, device: device, isZeroed: true)
            }, shape: shape, dtype: dtype)
    }

    /// Cells of no defined value, for what is written before it is read.
    ///
    /// - Parameter inLargePages: what will be filled from end to end: the system is asked for large pages, which
    ///   cost it a fraction.
    package init(roomFor shape: [Int], dtype: DType, device: Device, inLargePages: Bool = false) {
        self.init(uninitialized: shape, dtype, device)
        if inLargePages { storage.useLargePages() }
    }

    /// Every cell `value`.
    package init(filled value: Double, shape: [Int], dtype: DType, device: Device) {
        self.init(uninitialized: shape, dtype, device)
        Memory.fill(self, value)
    }

    /// The values, rounded to `dtype`.
    ///
    /// - Parameter shape: as many cells as values; nil = one axis.
    package init(_ values: [Float], shape: [Int]? = nil, dtype: DType = .f32, device: Device) {
        self.init(uninitialized: Tensor.checked(shape, values.count), dtype, device)
        Memory.store(values, self)
    }

    /// The values, rounded to `dtype`.
    package init(_ values: [Double], shape: [Int]? = nil, dtype: DType = .f64, device: Device) {
        self.init(uninitialized: Tensor.checked(shape, values.count), dtype, device)
        Memory.store(values, self)
    }

    /// Integers.
    package init(_ values: [Int32], shape: [Int]? = nil, device: Device) {
        self.init(uninitialized: Tensor.checked(shape, values.count), .i32, device)
        Memory.store(values, self)
    }

    private static func checked(_ shape: [Int]?, _ count: Int) -> [Int] {
        let shape = shape ?? [count]
        precondition(Shape.count(shape) == count, "\(count) values for shape \(shape)")
        return shape
    }

    /// The device the cells live on.
    package var device: Device { storage.device }

    /// The number of cells.
    package var count: Int { Shape.count(shape) }

    /// The number of axes.
    package var rank: Int { shape.count }

    /// The product of all lengths but the last.
    package var rows: Int { columns == 0 ? 0 : count / columns }

    /// The length of the last axis; 1 for a single number.
    package var columns: Int { shape.last ?? 1 }

    /// True when derivatives flow back through this tensor.
    package var isTracked: Bool { place != nil }

    /// The cells as floats; wider types are rounded.
    package func floats() -> [Float] { Memory.floats(self) }

    /// The cells as doubles, exactly.
    package func doubles() -> [Double] { Memory.doubles(self) }

    /// The cells of an integer tensor.
    package func ints() -> [Int32] {
        precondition(dtype == .i32, "ints() of a tensor of \(dtype)")
        return Memory.ints(self)
    }

    /// The only cell.
    package func item() -> Double {
        precondition(count == 1, "item() of a tensor of shape \(shape)")
        return doubles()[0]
    }

    /// The raw bytes, for files and hashes.
    package func bytes() -> [UInt8] { Memory.bytes(self) }

    /// Overwrites the cells with those of `source`, rounded to this type.
    ///
    /// For parameters and buffers only.
    package func copy(from source: Tensor) {
        precondition(source.count == count, "copy of \(source.shape) into \(shape)")
        Memory.copy(source, into: self)
    }

    /// Overwrites rows `row...` with the rows of `source`: same columns and type.
    ///
    /// For caches only.
    package func copyRows(from source: Tensor, to row: Int) {
        precondition(
            source.dtype == dtype && source.columns == columns && row >= 0
                && row + source.rows <= rows,
            "rows \(source.shape) of \(source.dtype) to row \(row) of \(shape) of \(dtype)")
        Memory.copy(source, into: rowsView(row, source.rows))
    }

    /// Sets every cell to zero.
    ///
    /// For gradient accumulators only.
    package func zero() { Memory.zero(self) }

    /// Rows `row ..< row + count` as a tensor over the same memory, untracked.
    package func rowsView(_ row: Int, _ count: Int) -> Tensor {
        precondition(
            row >= 0 && count >= 0 && row + count <= rows, "rows \(row)+\(count) of \(shape)")
        return Tensor(
            storage: storage, offset: offset + row * columns, shape: [count, columns], dtype: dtype)
    }

    /// Some of the cells as a tensor of one axis over the same memory, untracked.
    package func cells(_ range: Range<Int>) -> Tensor {
        precondition(
            range.lowerBound >= 0 && range.upperBound <= count, "cells \(range) of \(shape)")
        return Tensor(
            storage: storage, offset: offset + range.lowerBound, shape: [range.count], dtype: dtype)
    }

    /// The same values as a constant.
    package func detach() -> Tensor {
        place == nil ? self : Tensor(storage: storage, offset: offset, shape: shape, dtype: dtype)
    }

    /// The same cells under another shape, untracked.
    func viewed(_ shape: [Int]) -> Tensor {
        Tensor(storage: storage, offset: offset, shape: shape, dtype: dtype)
    }

    func at(_ place: Place) -> Tensor {
        Tensor(storage: storage, offset: offset, shape: shape, dtype: dtype, place: place)
    }
}
