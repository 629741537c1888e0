import CKeel
import Glibc
import KeelCore

/// Opens plugin files.
///
/// A file that was opened stays until the process ends.
enum Library {
    static let entrySymbol = "keel_plugin_v1"

    /// Loads a file and reads what its entry function describes.
    ///
    /// Regular file? Library of this machine? Entry function exported? Only then is it loaded, with
    /// all symbols resolved at once and none of them visible to other plugins.
    ///
    /// - Throws: `KeelError` or `KeelErrors` (unavailable), each cause with its own words.
    static func open(_ path: String) throws -> [LoadedComponent] {
        let hash = try check(path)
        guard let handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) else {
            throw cannotLoad(path, loaderText())
        }
        guard let symbol = dlsym(handle, entrySymbol) else { throw noEntry(path) }
        typealias Entry = @convention(c) () -> UnsafePointer<keel_plugin>?
        let entry = unsafeBitCast(symbol, to: Entry.self)
        guard let plugin = entry() else { throw emptyEntry(path) }
        var reader = DescriptorReader(path: path, sha256: hash)
        return try reader.read(plugin)
    }

    /// The checks before loading.
    ///
    /// - Returns: the hash of the file.
    static func check(_ path: String) throws -> String {
        guard Files.exists(path) else {
            throw KeelError(
                "plugin", "no such plugin file", at: path,
                fix: "check the path, or name a plugin of `keel plugin list`",
                code: .unavailable)
        }
        guard Files.isRegular(path) else {
            throw KeelError(
                "plugin", "\(Files.name(path)) is not a regular file", at: path, code: .unavailable)
        }
        let file = try MappedFile(path)
        return try withExtendedLifetime(file) {
            guard try ELFFile(file).exports(entrySymbol) ?? true else { throw noEntry(path) }
            return SHA256.hex(file.bytes)
        }
    }

    /// What the loader says of a file that it refuses.
    static func cannotLoad(_ path: String, _ why: String) -> KeelError {
        KeelError(
            "plugin", "cannot load \(Files.name(path)): \(why)", at: path,
            fix: "link what it needs into it, or install it; `ldd \(path)` shows what is missing",
            code: .unavailable)
    }

    static func emptyEntry(_ path: String) -> KeelError {
        KeelError(
            "plugin", "\(entrySymbol) of \(Files.name(path)) returned nothing", at: path,
            fix: "return the address of a keel_plugin", code: .unavailable)
    }

    static func noEntry(_ path: String) -> KeelError {
        KeelError(
            "plugin", "\(Files.name(path)) is not a Keel plugin: it does not export \(entrySymbol)",
            at: path,
            fix:
                "end the file with KEEL_PLUGIN(...) in C, or a public @c(\(entrySymbol)) function in Swift",
            code: .unavailable)
    }

    private static func loaderText() -> String {
        guard let text = dlerror() else { return "unknown reason" }
        return String(cString: text)
    }
}
