import Glibc

/// The few file operations that Keel needs, with Keel's errors.
package enum Files {
    package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    package static func isDirectory(_ path: String) -> Bool {
        var info = stat()
        return stat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFDIR
    }

    package static func isRegular(_ path: String) -> Bool {
        var info = stat()
        return stat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFREG
    }

    package static func size(_ path: String) -> Int? {
        var info = stat()
        return stat(path, &info) == 0 ? Int(info.st_size) : nil
    }

    /// Modification time in nanoseconds since 1970.
    package static func modified(_ path: String) -> Int64? {
        var info = stat()
        guard stat(path, &info) == 0 else { return nil }
        return Int64(info.st_mtim.tv_sec) * 1_000_000_000 + Int64(info.st_mtim.tv_nsec)
    }

    /// Names in a folder, sorted, without `.` and `..`.
    package static func list(_ path: String) throws -> [String] {
        guard let folder = opendir(path) else { throw error("cannot list the folder", path) }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    package static func read(_ path: String) throws -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw error("cannot read the file", path) }
        defer { close(descriptor) }
        guard !isDirectory(path) else {
            throw KeelError("io", "a folder where a file is needed", at: path, code: .noInput)
        }
        var bytes: [UInt8] = []
        bytes.reserveCapacity((size(path) ?? 0) + 1)
        var block = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = Glibc.read(descriptor, &block, block.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw error("cannot read the file", path) }
            if count == 0 { return bytes }
            bytes.append(contentsOf: block[0..<count])
        }
    }

    package static func readText(_ path: String) throws -> String {
        String(decoding: try read(path), as: UTF8.self)
    }

    /// Makes the folder and those above it; an existing one is fine.
    package static func makeDirectory(_ path: String) throws {
        if isDirectory(path) { return }
        let above = parent(path)
        if !above.isEmpty, above != path { try makeDirectory(above) }
        guard mkdir(path, 0o777) == 0 || errno == EEXIST else {
            throw error("cannot create the folder", path, code: .cannotCreate)
        }
        guard isDirectory(path) else {
            throw KeelError(
                "io", "a file stands where a folder is needed", at: path, code: .cannotCreate)
        }
    }

    /// Removes a file, or a folder with all that is in it; nothing there is fine.
    package static func remove(_ path: String) throws {
        var info = stat()
        guard lstat(path, &info) == 0 else { return }
        if info.st_mode & S_IFMT == S_IFDIR {
            for name in try list(path) { try remove(join(path, name)) }
            guard rmdir(path) == 0 else { throw error("cannot remove the folder", path) }
        } else {
            guard unlink(path) == 0 else { throw error("cannot remove the file", path) }
        }
    }

    package static func copy(_ from: String, to: String) throws {
        try AtomicWrite.file(to, try read(from))
    }

    package static func join(_ folder: String, _ name: String) -> String {
        if name.hasPrefix("/") || folder.isEmpty { return name }
        return folder.hasSuffix("/") ? folder + name : folder + "/" + name
    }

    /// The folder part of a path: "" for a bare name.
    package static func parent(_ path: String) -> String {
        var trimmed = Substring(path)
        while trimmed.count > 1, trimmed.hasSuffix("/") { trimmed.removeLast() }
        guard let slash = trimmed.lastIndex(of: "/") else { return "" }
        return slash == trimmed.startIndex ? "/" : String(trimmed[..<slash])
    }

    /// The last part of a path.
    package static func name(_ path: String) -> String {
        var trimmed = Substring(path)
        while trimmed.count > 1, trimmed.hasSuffix("/") { trimmed.removeLast() }
        guard let slash = trimmed.lastIndex(of: "/") else { return String(trimmed) }
        return String(trimmed[trimmed.index(after: slash)...])
    }

    /// An absolute path without `.` and `..`; symbolic links stay.
    package static func absolute(_ path: String) -> String {
        var parts: [Substring] = []
        for part in join(currentDirectory, path).split(separator: "/") {
            if part == ".." { _ = parts.popLast() } else if part != "." { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
    }

    package static var currentDirectory: String {
        guard let path = getcwd(nil, 0) else { return "/" }
        defer { free(path) }
        return String(cString: path)
    }

    /// The path of the running executable, links resolved.
    package static var executable: String {
        guard let path = realpath("/proc/self/exe", nil) else { return CommandLine.arguments[0] }
        defer { free(path) }
        return String(cString: path)
    }

    /// An absolute path without symbolic links; the path itself where there is nothing.
    package static func real(_ path: String) -> String {
        guard let found = realpath(path, nil) else { return path }
        defer { free(found) }
        return String(cString: found)
    }

    package static func environment(_ name: String) -> String? {
        guard let value = getenv(name) else { return nil }
        let text = String(cString: value)
        return text.isEmpty ? nil : text
    }

    /// A Keel folder of the XDG base directories: `("XDG_CACHE_HOME", ".cache")` -> `~/.cache/keel`.
    package static func userFolder(_ variable: String, _ fallback: String) -> String {
        let base = environment(variable) ?? join(environment("HOME") ?? "/tmp", fallback)
        return join(base, "keel")
    }

    /// An error with the system's own words for `errno`.
    package static func error(_ what: String, _ path: String, code: ExitCode? = nil) -> KeelError {
        let number = errno
        let chosen = code ?? (number == ENOENT ? .noInput : .io)
        let fix =
            number == ENOENT
            ? "check the path" : number == ENOSPC ? "free some space on the disk" : nil
        return KeelError(
            "io", "\(what): \(String(cString: strerror(number)))", at: path, fix: fix, code: chosen)
    }
}
