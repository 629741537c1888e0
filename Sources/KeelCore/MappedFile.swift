import Glibc

/// A file's bytes, mapped read-only for as long as this object lives.
package final class MappedFile: @unchecked Sendable {
    package let path: String
    package let bytes: UnsafeRawBufferPointer

    package var count: Int { bytes.count }

    /// - Throws: `KeelError` (noInput when the file is missing, io otherwise).
    package init(_ path: String) throws {
        self.path = path
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Files.error("cannot read the file", path) }
        defer { close(descriptor) }
        var info = stat()
        guard fstat(descriptor, &info) == 0 else { throw Files.error("cannot read the file", path) }
        guard info.st_mode & S_IFMT == S_IFREG else {
            throw KeelError("io", "not a regular file", at: path, code: .noInput)
        }
        let size = Int(info.st_size)
        guard size > 0 else {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        let start = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0)
        guard let start, start != MAP_FAILED else { throw Files.error("cannot map the file", path) }
        bytes = UnsafeRawBufferPointer(start: start, count: size)
    }

    /// A range of the bytes, for the length of `body`.
    ///
    /// - Parameter range: inside the file; the caller has checked it.
    package func withBytes<R>(
        _ range: Range<Int>, _ body: (UnsafeRawBufferPointer) throws -> R
    ) rethrows -> R {
        precondition(
            range.lowerBound >= 0 && range.upperBound <= count,
            "bytes \(range) of \(count) in \(path)")
        defer { withExtendedLifetime(self) {} }
        return try body(UnsafeRawBufferPointer(rebasing: bytes[range]))
    }

    /// Whole 32-bit words, as a little-endian machine wrote them.
    package var wordCount: Int { count / 4 }

    /// A copy of some words.
    ///
    /// - Parameter range: inside the file; the caller has checked it.
    package func words(_ range: Range<Int>) -> [Int32] {
        withBytes(4 * range.lowerBound..<4 * range.upperBound) { bytes in
            [Int32](unsafeUninitializedCapacity: range.count) { words, count in
                UnsafeMutableRawBufferPointer(words).copyMemory(from: bytes)
                count = range.count
            }
        }
    }

    deinit {
        if let start = bytes.baseAddress {
            munmap(UnsafeMutableRawPointer(mutating: start), bytes.count)
        }
    }
}
