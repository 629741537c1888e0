import KeelCore

/// The `checkpoint-<step>/` folders of a run: whole or absent, the newest complete one found again.
///
/// A checkpoint is written under a temporary name and renamed; `keel_state.json`, written last, holds
/// the size and SHA-256 of every other file. What does not match its own list is not a checkpoint.
package struct CheckpointStore {
    package let directory: String

    package static let stateFile = "keel_state.json"
    package static let formatVersion = 1

    package init(directory: String) {
        self.directory = directory
    }

    package func path(step: Int) -> String {
        Files.join(directory, "checkpoint-\(step)")
    }

    /// Steps that have a checkpoint folder, complete or not, ascending.
    package func steps() -> [Int] {
        guard Files.isDirectory(directory), let names = try? Files.list(directory) else {
            return []
        }
        return names.compactMap { name in
            name.hasPrefix("checkpoint-") ? Int(name.dropFirst("checkpoint-".count)) : nil
        }.sorted()
    }

    /// Writes a checkpoint: `fill` puts the files, `state` becomes `keel_state.json`.
    ///
    /// - Throws: what `fill` throws, or `KeelError` (io); then the folder does not exist.
    package func save(step: Int, state: JSONObject, fill: (String) throws -> Void) throws {
        try AtomicWrite.directory(path(step: step)) { folder in
            try fill(folder)
            var files = JSONObject()
            for name in try CheckpointStore.files(in: folder) {
                let file = Files.join(folder, name)
                files.append(
                    name,
                    [
                        "size": JSON(Files.size(file) ?? 0),
                        "sha256": .string(try SHA256.hex(file: file)),
                    ])
            }
            var whole: JSONObject = ["format_version": JSON(CheckpointStore.formatVersion)]
            for (key, value) in state { whole.append(key, value) }
            whole.append("files", .object(files))
            try AtomicWrite.file(
                Files.join(folder, CheckpointStore.stateFile),
                JSON.object(whole).text(pretty: true) + "\n")
        }
    }

    /// The state of the newest complete checkpoint, and the damaged ones that were passed over.
    package func newest() -> (found: Checkpoint?, damaged: [KeelError]) {
        var damaged: [KeelError] = []
        for step in steps().reversed() {
            do {
                return (try open(path(step: step)), damaged)
            } catch let error as KeelError {
                damaged.append(error)
            } catch {
                damaged.append(KeelError("checkpoint", "\(error)", at: path(step: step)))
            }
        }
        return (nil, damaged)
    }

    /// Opens one checkpoint folder and checks every file against its list.
    ///
    /// - Throws: `KeelError` (badData, noInput) that names the file that is missing or differs.
    package func open(_ folder: String) throws -> Checkpoint {
        let path = Files.join(folder, CheckpointStore.stateFile)
        let state = try JSON.parse(try Files.read(path), name: path, duplicates: .reject)
        guard let version = state["format_version"]?.int, version <= CheckpointStore.formatVersion
        else {
            throw KeelError(
                "checkpoint", "written by a newer Keel", at: path,
                fix: "resume with the Keel that wrote it",
                code: .badData)
        }
        guard let files = state["files"]?.object else {
            throw KeelError("checkpoint", "no list of files", at: path, code: .badData)
        }
        for (name, entry) in files {
            let file = Files.join(folder, name)
            guard CheckpointStore.isInside(name), let size = entry["size"]?.int,
                Files.size(file) == size,
                let hash = entry["sha256"]?.string, try SHA256.hex(file: file) == hash
            else {
                throw KeelError(
                    "checkpoint", "a file is missing or not as it was written", at: file,
                    fix: "resume from another checkpoint", code: .badData)
            }
        }
        return Checkpoint(folder: folder, state: state)
    }

    /// The files of a folder and of the folders in it, by their path inside it.
    private static func files(in folder: String, below prefix: String = "") throws -> [String] {
        try Files.list(folder).flatMap { name -> [String] in
            let path = Files.join(folder, name)
            guard Files.isDirectory(path) else { return [prefix + name] }
            return try files(in: path, below: prefix + name + "/")
        }
    }

    /// Whether a path stays in the checkpoint's folder.
    private static func isInside(_ path: String) -> Bool {
        path.split(separator: "/", omittingEmptySubsequences: false).allSatisfy {
            !["", ".", ".."].contains($0)
        }
    }

    /// Removes the oldest checkpoints up to `newest` beyond `limit` (nil keeps all).
    ///
    /// Those of later steps stay and do not count: a run that went on from before them, because they were
    /// damaged or it was told to, would else lose what it has just written.
    package func prune(keeping limit: Int?, upTo newest: Int) throws {
        guard let limit else { return }
        for step in steps().filter({ $0 <= newest }).dropLast(max(1, limit)) {
            try Files.remove(path(step: step))
        }
    }

    /// Removes temporary folders and files that a killed process left behind.
    package func removeLeftovers() throws {
        guard Files.isDirectory(directory) else { return }
        for name in try Files.list(directory) where AtomicWrite.isTemporary(name) {
            try Files.remove(Files.join(directory, name))
        }
    }
}

/// One complete checkpoint.
package struct Checkpoint {
    package let folder: String
    package let state: JSON

    package var step: Int { state["step"]?.int ?? 0 }
}
