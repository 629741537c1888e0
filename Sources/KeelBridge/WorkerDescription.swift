import CKeel
import CWorker
import KeelCore

/// The first look at a plugin file: a worker loads it, so that a file that crashes or hangs harms nobody.
enum WorkerDescription {
    /// The minor version of the contract that workers offer.
    static let minor = Int(KW_MINOR)
    /// Seconds that loading a file may take.
    static let limit = 20.0

    /// What a plugin file holds.
    ///
    /// - Throws: `KeelError` or `KeelErrors` (unavailable), each cause with its own words.
    static func components(of path: String, limit: Double = limit) throws -> [Component] {
        let hash = try Library.check(path)
        let process = try WorkerProcess()
        let reply: WorkerReply
        do throws(WorkerFailure) {
            reply = try process.ask(Int(KW_DESCRIBE), watch: .seconds(limit)) { try $0.text(path) }
        } catch {
            throw KeelError(
                "plugin",
                "cannot load \(Files.name(path)): its code runs when it is loaded and "
                    + error.deed + error.lastWords, at: path,
                fix:
                    "a plugin may do nothing when it is loaded; look at constructors, initialisers and \(Library.entrySymbol)",
                code: .unavailable)
        }
        process.quit()
        if let (kind, text) = reply.failure {
            switch Int(kind) {
            case Int(KW_NO_ENTRY): throw Library.noEntry(path)
            case Int(KW_NO_PLUGIN): throw Library.emptyEntry(path)
            default: throw Library.cannotLoad(path, text)
            }
        }
        guard let image = reply.image, let loaded = PluginImage(image) else {
            throw KeelError(
                "plugin", "cannot read what \(Files.name(path)) describes", at: path,
                code: .unavailable)
        }
        var reader = DescriptorReader(path: path, sha256: hash)
        return try withExtendedLifetime(loaded) {
            try reader.read(loaded.plugin).map(\.component)
        }
    }
}

/// A descriptor that a worker sent, in memory of the host: it reads as the plugin's own.
///
/// Its callbacks are addresses in another process: they tell what is there and are never called.
private final class PluginImage {
    private let memory: UnsafeMutableRawPointer
    private let root: Int

    /// What the reader may touch behind a struct or a list that claims to be longer than it is.
    private static let slack = 1 << 18

    /// The descriptor; nil when an offset lies outside of the block.
    init?(_ bytes: [UInt8]) {
        let words = bytes.count / 8
        func word(_ index: Int) -> Int? {
            guard index >= 0, index < words else { return nil }
            let value = bytes.withUnsafeBytes {
                $0.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self)
            }
            return Int(exactly: value)
        }
        guard let first = word(0), let count = word(1), count <= words - 2 else { return nil }
        let start = (2 + count) * 8
        let size = bytes.count - start
        guard first <= size - 16 else { return nil }
        root = first
        memory = .allocate(byteCount: size + PluginImage.slack, alignment: 16)
        memory.initializeMemory(as: UInt8.self, repeating: 0, count: size + PluginImage.slack)
        bytes.withUnsafeBytes {
            memory.copyMemory(
                from: UnsafeRawBufferPointer(rebasing: $0[start...]).baseAddress
                    ?? UnsafeRawPointer(memory), byteCount: size)
        }
        for index in 0..<count {
            guard let place = word(2 + index), place <= size - 8 else { return nil }
            let offset = memory.loadUnaligned(fromByteOffset: place, as: UInt64.self)
            guard offset > 0, offset <= UInt64(size) else { return nil }
            let target = UInt64(UInt(bitPattern: memory)) + offset
            memory.storeBytes(of: target, toByteOffset: place, as: UInt64.self)
        }
    }

    deinit { memory.deallocate() }

    var plugin: UnsafePointer<keel_plugin> {
        UnsafeRawPointer(memory + root).assumingMemoryBound(to: keel_plugin.self)
    }
}
