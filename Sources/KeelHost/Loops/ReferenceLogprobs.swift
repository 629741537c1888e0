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
    private var file: RecordFile?
    private var version: Int
    private var isWritable = true
    /// What is not in the file, or not yet.
    private var known: [RecordFile.Key: [[Float]]] = [:]
    /// Of what is not in the file.
    private var tokens = 0

    /// Tokens that wait in memory before the file gets them.
    private static let tokensAtOnce = 1 << 18
    private static let magic = "keel-reference-logprobs-4"

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

    /// Opens what is known of the reference as it is.
    private func open() throws {
        file = try cacheFolder.map {
            let name = SHA256.hex(
                "\(ReferenceLogprobs.magic) \(Build.version) \(scorer.model.device.isa) "
                    + "\(try reference.contentHash()) \(scorer.temperature) \(scorer.model.dtype)"
            )
            return RecordFile(Files.join($0, "reference/\(name.prefix(32)).logprobs"))
        }
    }

    /// Begins anew where the reference has become another model since.
    private func follow() throws {
        guard version != reference.version else { return }
        flush()
        version = reference.version
        (known, tokens) = ([:], 0)
        try open()
    }

    /// The log-probs of each completion of each row, in order: `[completion][token]`.
    func logprobs(_ rows: [TokenizedRow]) throws -> [[Float]] {
        try follow()
        return try rows.flatMap { row in
            let key = ReferenceLogprobs.key(row)
            let counts = row.completions.map(\.count)
            let kept =
                known[key] ?? file?.words(key).flatMap { ReferenceLogprobs.values($0, counts) }
            if let kept { return kept }
            let values = try scorer.logprobs([row])
            known[key] = values
            tokens += counts.reduce(0, +)
            if tokens >= ReferenceLogprobs.tokensAtOnce { flush() }
            return values
        }
    }

    /// Without remembering: rows that are never met again, such as a rollout's; the prompt of a group is
    /// computed once.
    func logprobsOnce(_ rows: [TokenizedRow]) throws -> [[Float]] { try scorer.logprobs(rows) }

    private static func key(_ row: TokenizedRow) -> RecordFile.Key {
        var hash = SHA256()
        for part in [row.prompt] + row.completions {
            hash.update(part)
            hash.update("|")
        }
        return RecordFile.Key(hash)
    }

    /// The bits of a record, completion by completion; nil for another number of them.
    private static func values(_ words: [Int32], _ counts: [Int]) -> [[Float]]? {
        guard words.count == counts.reduce(0, +) else { return nil }
        var next = 0
        return counts.map { count in
            defer { next += count }
            return words[next..<next + count].map { Float(bitPattern: UInt32(bitPattern: $0)) }
        }
    }

    /// Writes what is new to disk; a cache that cannot be written costs time later, not the run.
    func flush() {
        guard let file, isWritable, !known.isEmpty else { return }
        do {
            let records = known.map { key, lists in
                (key: key, words: lists.joined().map { Int32(bitPattern: $0.bitPattern) })
            }
            // What another run's writing delays goes with the next rows.
            if try file.append(records) { (known, tokens) = ([:], 0) }
        } catch {
            Log.warning("the cache of reference log-probs could not be written: \(error)")
            isWritable = false
        }
    }
}
