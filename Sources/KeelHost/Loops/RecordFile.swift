import Glibc
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
    /// The one that ends what has been read: it tells this file from another that has taken its place.
    private var last: Key?
    /// The words that have been read back whole.
    private var end = 0

    /// - Parameter path: of a file that need not be there.
    init(_ path: String) {
        self.path = path
        // What cannot be read is not known; who adds to the file is told why.
        try? scan()
    }

    /// The words of a record; nil where there is none, or it has been damaged since.
    func words(_ key: Key) -> [Int32]? {
        guard let (start, count) = places[key] else { return nil }
        guard let all = try? file?.words(start - 4..<start + count + 2),
            RecordFile.isWhole(all[...], key)
        else {
            places[key] = nil
            return nil
        }
        return Array(all[4..<4 + count])
    }

    /// Adds records to the file, and what others added in the meantime to what is known.
    ///
    /// - Returns: false where another process is writing: try again later.
    /// - Throws: `KeelError` (io, cannotCreate).
    func append(_ records: [(key: Key, words: [Int32])]) throws -> Bool {
        let folder = Files.parent(path)
        try Files.makeDirectory(folder)
        guard let lock = RecordFile.lock(folder) else { return false }
        try withExtendedLifetime(lock) {
            try scan()
            let output = try OutputFile(path: path, mode: .append)
            if Files.size(path) != 4 * end { try output.truncate(to: 4 * end) }
            if end == 0 { try output.write(RecordFile.head) }
            for (key, words) in records where places[key] == nil {
                let body = key.words + words
                try output.write([Int32(words.count + RecordFile.frame)] + body)
                try output.write(WordChecksum(of: body).words)
            }
            try output.close()
            try scan()
        }
        return true
    }

    /// A tenth of a second is more than another's records take.
    private static func lock(_ folder: String) -> FolderLock? {
        for _ in 0..<50 {
            if let lock = FolderLock(folder) { return lock }
            usleep(2000)
        }
        return nil
    }

    private static func isWhole(_ record: ArraySlice<Int32>, _ key: Key) -> Bool {
        Key(record.prefix(4)) == key
            && Array(record.suffix(2)) == WordChecksum(of: record.dropLast(2)).words
    }

    /// Reads on from what is known, or anew where the file is another one.
    ///
    /// - Throws: `KeelError` (io) for what cannot be read, as opposed to what is damaged or not there.
    private func scan() throws {
        guard Files.exists(path) else {
            (file, places, last, end) = (nil, [:], nil, 0)
            return
        }
        guard Files.isRegular(path) else {
            throw KeelError("io", "not a regular file", at: path, code: .io)
        }
        let file = try PiecewiseFile(path)
        let count = file.count / 4
        self.file = file
        let isOther = count < end || last.map { words($0) == nil } ?? false
        if isOther { (places, last, end) = ([:], nil, 0) }
        if end == 0 {
            guard count >= 2, try file.words(0..<2) == RecordFile.head else { return }
            end = 2
        }
        while end < count {
            var words = try file.words(end..<min(end + RecordFile.pieceWords, count))
            let length = Int(words[0])
            if length >= words.count {
                guard length < count - end else { return }
                words = try file.words(end..<end + length + 1)
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
            (places[key], last) = ((end + 5, length - RecordFile.frame), key)
            at += length + 1
            end += length + 1
        }
    }
}
