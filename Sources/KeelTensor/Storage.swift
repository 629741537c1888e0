import KeelCore

/// A block of a device's memory, 64-byte aligned, given back to the allocator when the last tensor lets go.
package final class Storage: @unchecked Sendable {
    let device: Device
    let bytes: Int
    let base: UnsafeMutableRawPointer

    /// Memory with no defined content, or all zeros.
    init(bytes: Int, device: Device, isZeroed: Bool = false) {
        self.bytes = bytes
        self.device = device
        self.base =
            isZeroed ? device.allocator.takeZeroed(bytes) : device.allocator.take(bytes)
    }

    deinit { device.allocator.give(base, bytes) }

    /// Asks the system for large pages: the memory is about to be filled from one end to the other.
    func useLargePages() { device.allocator.useLargePages(base, bytes) }
}

extension Tensor {
    /// The first cell.
    ///
    /// Valid while the tensor lives: callers keep it alive around the use.
    var raw: UnsafeMutableRawPointer { storage.base + offset * dtype.size }

    /// Overwrites the cells with raw bytes of this type, as a file holds them.
    package func copy(bytes: UnsafeRawBufferPointer) { Memory.copy(bytes, into: self) }

    /// Overwrites the cells with bytes of a file, which holds them as they are.
    ///
    /// - Throws: `KeelError` (io) for a file that has become shorter.
    package func read(_ range: Range<Int>, of file: PiecewiseFile) throws {
        precondition(
            range.count == count * dtype.size, "bytes \(range) for \(shape) of \(dtype)")
        try withBytes { try file.read(range, into: $0) }
    }

    /// Names the raw bytes: SHA-256 of both halves.
    package func fingerprint() -> String { withBytes { SHA256.halves(UnsafeRawBufferPointer($0)) } }

    /// Lends the raw bytes; they are valid inside `body` only.
    package func withBytes<R>(_ body: (UnsafeMutableRawBufferPointer) throws -> R) rethrows -> R {
        defer { withExtendedLifetime(storage) {} }
        return try body(UnsafeMutableRawBufferPointer(start: raw, count: count * dtype.size))
    }

    /// The cells as `T`, for the length of `body`.
    func withCells<T, R>(
        _ type: T.Type, _ body: (UnsafeMutableBufferPointer<T>) throws -> R
    )
        rethrows -> R
    {
        precondition(MemoryLayout<T>.size == dtype.size, "cells of \(dtype) read as \(T.self)")
        defer { withExtendedLifetime(storage) {} }
        return try body(
            UnsafeMutableBufferPointer(start: raw.assumingMemoryBound(to: T.self), count: count))
    }
}
