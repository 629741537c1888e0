import KeelCore

/// Tokenised rows on disk, one file per content key; whatever does not read back whole is made
/// anew.
///
/// Little-endian 32-bit words: magic, version, the key's first 8 bytes; the rows' records (`TokenRecords`); how many
/// rows, three drop counts, how many were cut, and a checksum of two words.
struct TokenCache {
    /// Changes whenever the format or the way rows are tokenised does.
    static let version: Int32 = 4
    private static let magic: Int32 = 0x4C45_454B  // "KEEL"
    private static let headWords = 4
    private static let tailWords = 7

    let directory: String
    let key: String

    private var path: String { Files.join(directory, "\(key).tokens") }
    private var head: [Int32] { [TokenCache.magic, TokenCache.version] + keyWords }

    /// Writes the rows that `make` gives, one after the other.
    ///
    /// - Parameter make: gives out every row, and returns what became of the others.
    /// - Throws: `KeelError` (io, cannotCreate), and what `make` throws: then no file is left.
    func write(
        _ make: (_ give: (TokenizedRow) throws -> Void) throws -> TokenizedDataset.Counts
    ) throws {
        try Files.makeDirectory(directory)
        removeRemains()
        try AtomicWrite.file(path) { output in
            var checksum = WordChecksum()
            func write(_ words: [Int32]) throws {
                checksum.add(words)
                try output.write(words)
            }
            var rows = 0
            try write(head)
            let counts = try make { row in
                rows += 1
                try write(TokenRecords.record(row))
            }
            try write(
                [
                    rows, counts.droppedLongPrompt, counts.droppedEmptyAnswer,
                    counts.droppedEmptyPrompt, counts.truncated,
                ].map { Int32(clamping: $0) })
            try output.write(checksum.words)
        }
    }

    /// The cached rows, which stay in the file; nil when there are none or the file is not whole.
    ///
    /// - Parameters:
    ///   - kind: of the data set's rows.
    ///   - rowLimit: how many there are.
    func read(_ kind: RowKind, rowLimit: Int) -> TokenizedDataset? {
        guard Files.isRegular(path), let file = try? MappedFile(path), file.count % 4 == 0,
            file.wordCount >= TokenCache.headWords + TokenCache.tailWords,
            file.words(0..<TokenCache.headWords) == head
        else { return nil }
        let end = file.wordCount - TokenCache.tailWords
        let tail = file.words(end..<file.wordCount)
        guard tail.prefix(5).allSatisfy({ $0 >= 0 }) else { return nil }
        var checksum = WordChecksum()
        checksum.add(head)
        let records = TokenRecords.file(file)
        var starts: [Int] = []
        var at = TokenCache.headWords
        var last = -1
        while at < end {
            guard let record = records.record(at: at), record.count <= end - at,
                let row = TokenRecords.row(record), row.index > last, row.index < rowLimit,
                !row.prompt.isEmpty, kind.completions.contains(row.completions.count)
            else { return nil }
            checksum.add(record)
            starts.append(at)
            at += record.count
            last = row.index
        }
        checksum.add(tail.prefix(5))
        guard starts.count == tail[0], Array(tail.suffix(2)) == checksum.words else { return nil }
        var data = TokenizedDataset(contentHash: key)
        data.counts = TokenizedDataset.Counts(
            droppedLongPrompt: Int(tail[1]), droppedEmptyAnswer: Int(tail[2]),
            droppedEmptyPrompt: Int(tail[3]), truncated: Int(tail[4]))
        data.rows = TokenizedRows(records, starts: starts)
        return data
    }

    /// What processes left that were ended while they wrote, more than a day ago.
    private func removeRemains() {
        for name in (try? Files.list(directory)) ?? [] where AtomicWrite.isTemporary(name) {
            let file = Files.join(directory, name)
            guard let modified = Files.modified(file) else { continue }
            if Clock.wall() - Double(modified) * 1e-9 > 86_400 { try? Files.remove(file) }
        }
    }

    private var keyWords: [Int32] {
        [key.prefix(8), key.dropFirst(8).prefix(8)].map {
            Int32(bitPattern: UInt32($0, radix: 16) ?? 0)
        }
    }
}
