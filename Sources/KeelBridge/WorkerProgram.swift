import CWorker
import Glibc
import KeelCore

/// Where `keel-worker` lies, and what it is started with.
enum WorkerProgram {
    /// The path of the executable.
    ///
    /// Beside the file that this code was loaded from (a build folder), or in `../lib/keel` as it is
    /// installed; the variable KEEL_WORKER goes first.
    ///
    /// - Throws: `KeelError` (unavailable) when there is none.
    static func path() throws -> String {
        if let named = Files.environment("KEEL_WORKER") {
            guard access(named, X_OK) == 0 else {
                throw KeelError(
                    "plugin", "KEEL_WORKER names no executable", at: named, code: .unavailable)
            }
            return named
        }
        var folders = [Files.parent(Files.executable)]
        if let image = file(of: #dsohandle) { folders.append(Files.parent(Files.absolute(image))) }
        for folder in folders {
            for name in ["keel-worker", "../lib/keel/keel-worker"] {
                let path = Files.join(folder, name)
                if Files.isRegular(path), access(path, X_OK) == 0 { return Files.absolute(path) }
            }
        }
        throw KeelError(
            "plugin", "keel-worker is missing: plugins run in it",
            at: folders.first.map { Files.join($0, "keel-worker") },
            fix: "install Keel again, or build it whole: swift build", code: .unavailable)
    }

    /// This process's environment for a worker.
    ///
    /// A plugin that shares the Swift runtime finds the one that this process uses; a crash is told by
    /// its signal, without the runtime's own report.
    static func environment() -> [String] {
        var all: [String] = []
        var at = Glibc.environ
        while let entry = at.pointee {
            all.append(String(cString: entry))
            at += 1
        }
        let ours = ["SWIFT_BACKTRACE=", "LD_LIBRARY_PATH="]
        let libraries = all.first { $0.hasPrefix(ours[1]) }.map { String($0.dropFirst(16)) }
        var kept = all.filter { entry in !ours.contains { entry.hasPrefix($0) } }
        kept.append("SWIFT_BACKTRACE=enable=no")
        let folders = [libraries, runtimeFolder].compactMap(\.self).filter { !$0.isEmpty }
        if !folders.isEmpty { kept.append(ours[1] + folders.joined(separator: ":")) }
        return kept
    }

    /// Where the Swift runtime of this process lies; nil when it is linked in.
    private static var runtimeFolder: String? {
        guard let symbol = dlsym(nil, "swift_retain"), let path = file(of: symbol),
            Files.name(path).hasPrefix("libswift")
        else { return nil }
        return Files.parent(Files.absolute(path))
    }

    /// The file that an address was loaded from.
    private static func file(of address: UnsafeRawPointer) -> String? {
        guard let name = kw_file_of(address) else { return nil }
        return String(cString: name)
    }
}
