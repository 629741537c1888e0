import KeelCore

/// Records by key in a file that only grows; of each some 40 bytes stay in memory, whatever its length.
///
/// Little-endian 32-bit words: a magic and a version; of each record the words that follow, four of the key, its own,
/// a checksum of two. What stands behind a record that does not read back whole is forgotten, and cut off when the
/// next one is written. Several runs may read a file and add to it at once.
final class RecordFile {
    struct Key: Hashable {
        private let high: UInt64
        private let low: UInt64

        /// The first half of a hash.
        init(_ hash: SHA256) {
            let digits = hash.hex()
            high = UInt64(digits.prefix(16), radix: 16) ?? 0
            low = UInt64(digits.dropFirst(16).prefix(16), radix: 16) ?? 0
        }

        fileprivate init(_ words: ArraySlice<Int32>) {
            let bits = words.map { UInt64(UInt32(bitPattern: $0)) }
            (high, low) = (bits[0] << 32 | bits[1], bits[2] << 32 | bits[3])
        }

        fileprivate var words: [Int32] {
            [high >> 32, high, low >> 32, low].map { Int32(truncatingIfNeeded: $0) }
        }
    }

    private static let head: [Int32] = [0x4C45_454B, 1]  // "KEEL"
    /// Words of a record besides its own, the first not counted.
    private static let frame = 6
    private static let pieceWords = 1 << 18

    let path: String
    private var file: PiecewiseFile?
    /// Where the words of each record begin, and how many they are.
    private var places: [Key: (start: Int, count: Int)] = [:]
    /// The words that have been read back whole.
    private var end = 0

    /// - Parameter path: of a file that need not be there.
    init(_ path: String) {
        self.path = path
        scan()
    }

    /// Records that are known.
    var count: Int { places.count }

    /// The words of a record; nil where there is none, or it has been damaged since.
    func words(_ key: Key) -> [Int32]? {
        guard let (start, count) = places[key],
            let all = try? file?.words(start - 4..<start + count + 2),
            RecordFile.isWhole(all[...], key)
        else { return nil }
        return Array(all[4..<4 + count])
    }

    /// Adds records to the file, and what others added in the meantime to what is known.
    ///
    /// - Returns: false where another process is writing: try again later.
    /// - Throws: `KeelError` (io, cannotCreate).
    func append(_ records: [(key: Key, words: [Int32])]) throws -> Bool {
        let folder = Files.parent(path)
        try Files.makeDirectory(folder)
        guard let lock = FolderLock(folder) else { return false }
        try withExtendedLifetime(lock) {
            scan()
            let output = try OutputFile(path: path, mode: .append)
            if Files.size(path) != 4 * end { try output.truncate(to: 4 * end) }
            if end == 0 { try output.write(RecordFile.head) }
            for (key, words) in records where places[key] == nil {
                let body = key.words + words
                try output.write([Int32(words.count + RecordFile.frame)] + body)
                try output.write(WordChecksum(of: body).words)
            }
            try output.close()
            scan()
        }
        return true
    }

    private static func isWhole(_ record: ArraySlice<Int32>, _ key: Key) -> Bool {
        Key(record.prefix(4)) == key
            && Array(record.suffix(2)) == WordChecksum(of: record.dropLast(2)).words
    }

    /// Reads on from what is known.
    private func scan() {
        guard let file = try? PiecewiseFile(path) else {
            (file, places, end) = (nil, [:], 0)
            return
        }
        self.file = file
        let count = file.count / 4
        if count < end { (places, end) = ([:], 0) }
        if end == 0 {
            guard count >= 2, (try? file.words(0..<2)) == RecordFile.head else { return }
            end = 2
        }
        while end < count {
            var piece = end..<min(end + RecordFile.pieceWords, count)
            guard var words = try? file.words(piece) else { return }
            let length = Int(words[0])
            if length >= words.count {
                guard length < count - end else { return }
                piece = end..<end + length + 1
                guard let longer = try? file.words(piece) else { return }
                words = longer
            }
            let before = end
            take(words)
            if end == before { return }
        }
    }

    /// Takes the whole records at the front of some words, which stand behind what is known.
    private func take(_ words: [Int32]) {
        var at = 0
        while at < words.count {
            let length = Int(words[at])
            guard length >= RecordFile.frame, length < words.count - at else { return }
            let record = words[at + 1...at + length]
            let key = Key(record.prefix(4))
            guard RecordFile.isWhole(record, key) else { return }
            places[key] = (end + 5, length - RecordFile.frame)
            at += length + 1
            end += length + 1
        }
    }
}
