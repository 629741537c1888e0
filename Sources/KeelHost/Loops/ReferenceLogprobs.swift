import KeelCore
import KeelData
import KeelModel
import KeelTensor

/// Log-probs under the frozen reference, computed when a row is first met and then remembered.
///
/// Every row is computed alone: its numbers are a function of its tokens, whatever batch it came in,
/// so that a resumed run and a run with a warm cache see the same bits. Remembered by content: the
/// key covers the model's weights, the temperature and the tokens.
final class ReferenceLogprobs {
    private let scorer: SequenceScorer
    private let reference: FrozenReference
    private let cacheFolder: String?
    /// Of the reference as it is; nil keeps nothing on disk.
    private var file: String?
    private var version: Int
    private var known: [String: [[Float]]] = [:]
    private var isDirty = false

    private static let magic = "keel-reference-logprobs-3"

    /// - Parameter cacheFolder: where to keep them between runs; nil keeps them in memory only.
    ///
    /// - Throws: `KeelError` (io).
    init(_ reference: FrozenReference, temperature: Double, cacheFolder: String?) throws {
        self.reference = reference
        self.cacheFolder = cacheFolder
        scorer = SequenceScorer(model: reference.model, temperature: temperature)
        version = reference.version
        try open()
    }

    /// Reads what is known of the reference as it is.
    private func open() throws {
        file = try cacheFolder.map {
            let name = SHA256.hex(
                "\(ReferenceLogprobs.magic) \(Build.version) \(scorer.model.device.isa) "
                    + "\(try reference.contentHash()) \(scorer.temperature) \(scorer.model.dtype)"
            )
            return Files.join($0, "reference/\(name.prefix(32)).jsonl")
        }
        load()
    }

    /// Begins anew where the reference has become another model since.
    private func follow() throws {
        guard version != reference.version else { return }
        flush()
        version = reference.version
        (known, isDirty) = ([:], false)
        try open()
    }

    /// The log-probs of each completion of each row, in order: `[completion][token]`.
    func logprobs(_ rows: [TokenizedRow]) throws -> [[Float]] {
        try follow()
        return try rows.flatMap { row in
            let key = ReferenceLogprobs.key(row)
            // A damaged line of the cache may read as fewer numbers.
            if let values = known[key], values.map(\.count) == row.completions.map(\.count) {
                return values
            }
            let values = try scorer.logprobs([row])
            known[key] = values
            isDirty = true
            return values
        }
    }

    /// Without remembering: rows that are never met again, such as a rollout's; the prompt of a group is
    /// computed once.
    func logprobsOnce(_ rows: [TokenizedRow]) throws -> [[Float]] { try scorer.logprobs(rows) }

    private static func key(_ row: TokenizedRow) -> String {
        var hash = SHA256()
        for part in [row.prompt] + row.completions {
            hash.update(part)
            hash.update("|")
        }
        return String(hash.hex().prefix(32))
    }

    /// What tells that a line was read back as it was written.
    private static func check(_ key: String, _ values: [[Float]]) -> String {
        var hash = SHA256()
        hash.update(key)
        for list in values {
            hash.update(list.map { Int32(bitPattern: $0.bitPattern) })
            hash.update("|")
        }
        return String(hash.hex().prefix(16))
    }

    // MARK: The file: one JSON object per line, {"key": [[...], ...], "check": "..."}; lines that do not
    // read back whole are forgotten.

    private func load() {
        guard let file, Files.isRegular(file), let bytes = try? Files.read(file) else { return }
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            guard let object = try? JSON.parse(Array(line), name: file).object,
                let pair = object.pairs.first,
                let lists = pair.value.array
            else { continue }
            let values = lists.map { ($0.array ?? []).compactMap { $0.double.map(Float.init) } }
            guard object["check"]?.string == ReferenceLogprobs.check(pair.key, values) else {
                continue
            }
            known[pair.key] = values
        }
    }

    /// Writes what is new to disk; a cache that cannot be written costs time later, not the run.
    func flush() {
        guard isDirty, let file else { return }
        do {
            try Files.makeDirectory(Files.parent(file))
            try AtomicWrite.file(file) { output in
                for (key, lists) in known.sorted(by: { $0.key < $1.key }) {
                    let value = JSON.array(lists.map { .array($0.map { .double(Double($0)) }) })
                    let line: JSON = [
                        key: value, "check": .string(ReferenceLogprobs.check(key, lists)),
                    ]
                    try output.write(line.text() + "\n")
                }
            }
            isDirty = false
        } catch {
            Log.warning("the cache of reference log-probs could not be written: \(error)")
        }
    }
}
