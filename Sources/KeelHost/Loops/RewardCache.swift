import KeelCore

/// Scores of a data set on disk, one file per content key; what does not read back whole is made anew.
///
/// A line per reward: `{"name", "scores": [...], "check"}`.
struct RewardCache {
    private let file: String?
    private let names: [String]

    /// - Parameter folder: Keel's cache folder; nil = nothing is kept.
    init(folder: String?, key: String, names: [String]) {
        file = folder.map { Files.join($0, "rewards/\(key.prefix(32)).jsonl") }
        self.names = names
    }

    /// `[reward][completion]`; nil when there are none, or not as many.
    func read(count: Int) -> [[Double]]? {
        guard let file, Files.isRegular(file), let bytes = try? Files.read(file) else { return nil }
        let lines = bytes.split(separator: UInt8(ascii: "\n"))
        guard lines.count == names.count else { return nil }
        var all: [[Double]] = []
        for (line, name) in zip(lines, names) {
            guard let object = try? JSON.parse(Array(line), name: file),
                let cells = object["scores"],
                object["name"]?.string == name,
                object["check"]?.string == RewardCache.check(name, cells)
            else { return nil }
            let scores = (cells.array ?? []).map { $0.double ?? .nan }
            guard scores.count == count else { return nil }
            all.append(scores)
        }
        return all
    }

    /// - Throws: `KeelError` (io) when the folder cannot be written.
    func write(_ scores: [[Double]]) throws {
        guard let file else { return }
        try Files.makeDirectory(Files.parent(file))
        try AtomicWrite.file(file) { output in
            for (name, values) in zip(names, scores) {
                let cells = JSON.array(values.map { $0.isNaN ? .null : .double($0) })
                let line: JSON = [
                    "name": .string(name), "scores": cells,
                    "check": .string(RewardCache.check(name, cells)),
                ]
                try output.write(line.text() + "\n")
            }
        }
    }

    /// What tells that a line was read back as it was written.
    private static func check(_ name: String, _ cells: JSON) -> String {
        String(SHA256.hex("\(name) \(cells.text())").prefix(16))
    }
}
