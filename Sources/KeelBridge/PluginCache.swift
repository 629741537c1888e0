import KeelCore

/// What the files of searched folders describe, as earlier runs found it: one file per folder, so that a look reads
/// nothing of other installations.
///
/// A file is the SHA-256 of the rest, which tells a damaged one from a whole one, on a line of its own, then JSON.
struct PluginCache: Sendable {
    /// Where the files lie.
    let folder: String

    /// Bump when what is remembered changes.
    private static let format = 3
    private static let prefix = "plugins-"

    /// What is remembered of a folder's files, by name; nothing where the cache is missing, old or damaged.
    func read(_ searched: String) -> [String: JSON] {
        guard let json = PluginCache.whole(path(searched)), json["folder"]?.string == searched,
            let files = json["files"]?.object
        else { return [:] }
        return Dictionary(files.map { ($0.key, $0.value) }) { first, _ in first }
    }

    /// Remembers a folder's files, and forgets folders that are gone.
    ///
    /// A cache that cannot be written is no error: the next look is slower.
    func write(_ searched: String, _ files: [String: JSON]) {
        let object: JSONObject = [
            "format": JSON(PluginCache.format), "folder": .string(searched),
            "files": .object(JSONObject(pairs: files.sorted { $0.key < $1.key })),
        ]
        let text = JSON.object(object).text()
        try? Files.makeDirectory(folder)
        try? AtomicWrite.file(path(searched), SHA256.hex(text) + "\n" + text)
        for name in (try? Files.list(folder)) ?? [] where name.hasPrefix(PluginCache.prefix) {
            let path = Files.join(folder, name)
            let of = PluginCache.whole(path)?["folder"]?.string
            if of.map({ !Files.isDirectory($0) }) ?? true { try? Files.remove(path) }
        }
    }

    private func path(_ searched: String) -> String {
        Files.join(folder, "\(PluginCache.prefix)\(SHA256.hex(searched).prefix(16)).json")
    }

    /// What a file holds if it is whole and of this format.
    private static func whole(_ path: String) -> JSON? {
        guard let bytes = try? Files.read(path),
            let line = bytes.firstIndex(of: UInt8(ascii: "\n"))
        else { return nil }
        let rest = Array(bytes[(line + 1)...])
        guard SHA256.hex(rest) == String(decoding: bytes[..<line], as: UTF8.self),
            let json = try? JSON.parse(rest, name: path), json["format"]?.int == format
        else { return nil }
        return json
    }
}
