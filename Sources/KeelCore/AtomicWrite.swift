import CSystem
import Glibc

/// Files and folders that are whole or absent: temporary name, fsync, rename, fsync of the folder.
package enum AtomicWrite {
    package static func file(_ path: String, _ text: String) throws {
        try file(path, Array(text.utf8))
    }

    package static func file(_ path: String, _ bytes: [UInt8]) throws {
        try file(path) { try $0.write(bytes) }
    }

    /// Writes a file through `fill`; when that throws nothing is left behind.
    ///
    /// - Throws: `KeelError` (io, cannotCreate) with the system's reason.
    package static func file(_ path: String, _ fill: (OutputFile) throws -> Void) throws {
        let temporary = temporaryName(path)
        do {
            let output = try OutputFile(path: temporary, mode: .create)
            try fill(output)
            try output.sync()
            try output.close()
            guard rename(temporary, path) == 0 else {
                throw Files.error("cannot rename into place", path)
            }
        } catch {
            unlink(temporary)
            throw error
        }
        try syncDirectory(Files.parent(path))
    }

    /// Makes a folder through `fill`, which gets the path of a temporary one; replaces an older folder.
    package static func directory(_ path: String, _ fill: (String) throws -> Void) throws {
        let temporary = temporaryName(path)
        let old = temporary + ".old"
        do {
            try Files.makeDirectory(temporary)
            try fill(temporary)
            try syncTree(temporary)
            // After an exchange the older folder has the temporary name.
            if !exchange(temporary, path) {
                if Files.exists(path) {
                    guard rename(path, old) == 0 else {
                        throw Files.error("cannot move the old folder away", path)
                    }
                }
                guard rename(temporary, path) == 0 else {
                    throw Files.error("cannot rename into place", path)
                }
            }
        } catch {
            try? Files.remove(temporary)
            throw error
        }
        try syncDirectory(Files.parent(path))
        for left in [temporary, old] where Files.exists(left) { try? Files.remove(left) }
    }

    /// Swaps two folders in one step, so that there is no moment without one; false where the file system cannot.
    private static func exchange(_ one: String, _ other: String) -> Bool {
        cs_exchange(one, other) == 0
    }

    /// Whether a name was made by an unfinished write (a crash may leave one).
    package static func isTemporary(_ name: String) -> Bool {
        name.hasPrefix(".") && name.contains(".tmp-")
    }

    package static func syncDirectory(_ path: String) throws {
        let descriptor = open(path.isEmpty ? "." : path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Files.error("cannot open the folder", path) }
        defer { close(descriptor) }
        // Some file systems cannot sync a folder; the rename has happened all the same.
        guard fsync(descriptor) == 0 || errno == EINVAL else {
            throw Files.error("cannot sync the folder", path)
        }
    }

    private static func syncTree(_ path: String) throws {
        for name in try Files.list(path) where Files.isDirectory(Files.join(path, name)) {
            try syncTree(Files.join(path, name))
        }
        try syncDirectory(path)
    }

    private static func temporaryName(_ path: String) -> String {
        Files.join(Files.parent(path), ".\(Files.name(path)).tmp-\(getpid())")
    }
}

/// A file being written: buffered, with the system's errors as `KeelError`.
package final class OutputFile: @unchecked Sendable {
    package enum Mode: Sendable { case create, append }

    package let path: String
    private var descriptor: Int32
    private var buffer: [UInt8] = []

    package init(path: String, mode: Mode) throws {
        self.path = path
        let flags = mode == .create ? O_CREAT | O_TRUNC | O_WRONLY : O_CREAT | O_APPEND | O_WRONLY
        descriptor = open(path, flags | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else {
            throw Files.error("cannot create the file", path, code: .cannotCreate)
        }
    }

    deinit {
        if descriptor >= 0 { Glibc.close(descriptor) }
    }

    package func write(_ text: String) throws {
        try write(Array(text.utf8))
    }

    package func write(_ bytes: [UInt8]) throws {
        buffer.append(contentsOf: bytes)
        if buffer.count >= 1 << 16 { try flush() }
    }

    /// Words as the machine has them: little-endian.
    package func write(_ words: [Int32]) throws {
        words.withUnsafeBytes { buffer.append(contentsOf: $0) }
        if buffer.count >= 1 << 16 { try flush() }
    }

    package func write(_ bytes: UnsafeMutableRawBufferPointer) throws {
        try write(UnsafeRawBufferPointer(bytes))
    }

    package func write(_ bytes: UnsafeRawBufferPointer) throws {
        try flush()
        try send(bytes)
    }

    /// Hands what is buffered to the system.
    package func flush() throws {
        guard !buffer.isEmpty else { return }
        defer { buffer.removeAll(keepingCapacity: true) }
        try buffer.withUnsafeBytes(send)
    }

    /// Flushes and waits until the disk has it.
    package func sync() throws {
        try flush()
        guard fsync(descriptor) == 0 || errno == EINVAL else {
            throw Files.error("cannot sync the file", path)
        }
    }

    package func close() throws {
        try flush()
        let closing = descriptor
        descriptor = -1
        guard Glibc.close(closing) == 0 else { throw Files.error("cannot close the file", path) }
    }

    /// Cuts the file to `count` bytes (after what is buffered has been written).
    package func truncate(to count: Int) throws {
        try flush()
        guard ftruncate(descriptor, count) == 0 else {
            throw Files.error("cannot truncate the file", path)
        }
    }

    private func send(_ bytes: UnsafeRawBufferPointer) throws {
        var sent = 0
        while sent < bytes.count {
            let count = Glibc.write(
                descriptor, bytes.baseAddress.map { $0 + sent }, bytes.count - sent)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw Files.error("cannot write the file", path) }
            sent += count
        }
    }
}
