import Glibc
import KeelCore

/// Where the SDK lies: in the source tree, or installed beside the executable.
struct SDKLocation {
    /// The folder of the SDK.
    var root: String

    /// The folder of keel.h and its module map.
    var headers: String { Files.join(root, "C/include") }
    /// The folder of KeelPlugin's sources.
    var swift: String { Files.join(root, "Swift/KeelPlugin") }
    /// The folder of `keel plugin new`, one folder per kind and language.
    var templates: String { Files.join(root, "templates") }
    /// The version script that exports the entry symbol alone.
    var map: String { Files.join(root, "plugin.map") }

    /// `KEEL_SDK`, `<prefix>/share/keel/sdk`, or `SDK` of a source tree above the executable.
    ///
    /// - Throws: `KeelError` (unavailable) when none is whole.
    static func find() throws -> SDKLocation {
        let beside = Files.parent(Files.executable)
        var candidates = [Files.join(Files.parent(beside), "share/keel/sdk")]
        if let named = Files.environment("KEEL_SDK") {
            candidates.insert(Files.absolute(named), at: 0)
        }
        var folder = beside
        while folder != "/", !folder.isEmpty {
            candidates.append(Files.join(folder, "SDK"))
            folder = Files.parent(folder)
        }
        for root in candidates {
            let location = SDKLocation(root: root)
            if Files.exists(Files.join(location.headers, "keel.h")), Files.exists(location.map) {
                return location
            }
        }
        throw KeelError(
            "plugin", "the plugin SDK was not found", at: candidates[0],
            fix:
                "install it with `make install`, or set KEEL_SDK to the folder SDK of the source tree",
            code: .unavailable)
    }

    /// The sources of KeelPlugin.
    func swiftSources() throws -> [String] {
        try Files.list(swift).filter { $0.hasSuffix(".swift") }.map { Files.join(swift, $0) }
    }

    // MARK: - The SDK compiled once

    /// How many compiled SDKs are kept, for other compilers and other versions of Keel.
    private static let kept = 6

    /// The folder of the SDK's compiled module for its sources and this compiler: made if it is not there yet.
    ///
    /// - Parameter compile: compiles the sources into a folder.
    /// - Returns: a folder with `libKeelPlugin.a` and `KeelPlugin.swiftmodule`.
    func compiled(
        by compiler: [String], flags: [String], _ compile: (_ folder: String) throws -> Void
    ) throws -> String {
        var hash = SHA256()
        hash.update(
            "\(compiler) \(Files.modified(compiler[0]) ?? 0) \(Files.size(compiler[0]) ?? 0) \(flags)\n"
        )
        let inputs = try swiftSources() + Files.list(headers).map { Files.join(headers, $0) }
        for file in inputs where Files.isRegular(file) {
            hash.update("\(Files.name(file)) \(try SHA256.hex(file: file))\n")
        }
        let cache = Files.join(Files.userFolder("XDG_CACHE_HOME", ".cache"), "sdk")
        let folder = Files.join(cache, String(hash.hex().prefix(16)))
        if Files.exists(Files.join(folder, "libKeelPlugin.a")) { return folder }
        let temporary = Files.join(cache, ".\(Files.name(folder)).tmp-\(getpid())")
        try Files.makeDirectory(temporary)
        defer { try? Files.remove(temporary) }
        try compile(temporary)
        // Where another build was faster its folder stays: somebody may be reading it.
        guard rename(temporary, folder) == 0 || Files.exists(Files.join(folder, "libKeelPlugin.a"))
        else { throw Files.error("cannot rename into place", folder) }
        prune(cache)
        return folder
    }

    /// Removes the oldest of too many; what cannot be removed stays.
    private func prune(_ cache: String) {
        let folders = ((try? Files.list(cache)) ?? []).map { Files.join(cache, $0) }
            .filter { Files.exists(Files.join($0, "libKeelPlugin.a")) }
            .sorted { (Files.modified($0) ?? 0) > (Files.modified($1) ?? 0) }
        for old in folders.dropFirst(SDKLocation.kept) { try? Files.remove(old) }
    }
}
