import Glibc

/// A file that is read piece by piece, from any thread.
///
/// Unlike a mapped one it may be cut or written to while it is read: that is an error, not a fault.
package final class PiecewiseFile: Sendable {
    package let path: String
    /// Bytes of the file when it was opened.
    package let count: Int

    private let descriptor: Int32
    /// Nanoseconds since 1970.
    private let modified: Int64

    /// - Throws: `KeelError` (noInput when the file is missing, io otherwise).
    package init(_ path: String) throws {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Files.error("cannot read the file", path) }
        var info = stat()
        guard fstat(descriptor, &info) == 0, info.st_mode & S_IFMT == S_IFREG else {
            defer { close(descriptor) }
            guard info.st_mode & S_IFMT != 0 else {
                throw Files.error("cannot read the file", path)
            }
            throw KeelError("io", "not a regular file", at: path, code: .noInput)
        }
        self.path = path
        self.descriptor = descriptor
        count = Int(info.st_size)
        modified = PiecewiseFile.modified(info)
    }

    deinit { close(descriptor) }

    /// Copies bytes of the file to the front of `target`.
    ///
    /// - Parameter range: inside the file as it was opened; the caller has checked it.
    /// - Throws: `KeelError` (io) for a file that has become shorter.
    package func read(_ range: Range<Int>, into target: UnsafeMutableRawBufferPointer) throws {
        precondition(
            range.lowerBound >= 0 && range.upperBound <= count && range.count <= target.count,
            "bytes \(range) of \(count) in \(path) to \(target.count)")
        var at = range.lowerBound
        while at < range.upperBound, let start = target.baseAddress {
            let got = pread(
                descriptor, start + (at - range.lowerBound), range.upperBound - at, off_t(at))
            if got < 0, errno == EINTR { continue }
            guard got >= 0 else { throw Files.error("cannot read the file", path) }
            guard got > 0 else { throw changed("it ends at byte \(at) of \(count)") }
            at += got
        }
    }

    /// A range of the bytes.
    ///
    /// - Throws: as `read`.
    package func bytes(_ range: Range<Int>) throws -> [UInt8] {
        try [UInt8](unsafeUninitializedCapacity: range.count) { buffer, count in
            try read(range, into: UnsafeMutableRawBufferPointer(buffer))
            count = range.count
        }
    }

    /// A range of 32-bit words, as a little-endian machine wrote them.
    ///
    /// - Throws: as `read`.
    package func words(_ range: Range<Int>) throws -> [Int32] {
        try [Int32](unsafeUninitializedCapacity: range.count) { buffer, count in
            try read(
                4 * range.lowerBound..<4 * range.upperBound,
                into: UnsafeMutableRawBufferPointer(buffer))
            count = range.count
        }
    }

    /// Refuses a file that was written to since it was opened: what was read of it may be of two files.
    ///
    /// - Throws: `KeelError` (io).
    package func checkUnchanged() throws {
        var info = stat()
        guard fstat(descriptor, &info) == 0 else { throw Files.error("cannot read the file", path) }
        guard Int(info.st_size) == count else {
            throw changed("\(info.st_size) bytes, not \(count)")
        }
        guard PiecewiseFile.modified(info) == modified else { throw changed("it was written to") }
    }

    private func changed(_ what: String) -> KeelError {
        KeelError(
            "io", "the file changed while it was read: \(what)", at: path,
            fix: "leave the file alone while it is used", code: .io)
    }

    private static func modified(_ info: stat) -> Int64 {
        Int64(info.st_mtim.tv_sec) * 1_000_000_000 + Int64(info.st_mtim.tv_nsec)
    }
}
