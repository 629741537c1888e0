import KeelCore

/// Tokenised rows on disk, one file per content key; whatever does not read back whole is made
/// anew.
///
/// Little-endian 32-bit words: magic, version, the key's first 8 bytes, rows, three drop counts,
/// truncated, then per row `index, prompt count, completions, count of each, ids`, whether masks follow, their
/// bits; a checksum last.
struct TokenCache {
    /// Changes whenever the format or the way rows are tokenised does.
    static let version: Int32 = 3
    private static let magic: Int32 = 0x4C45_454B  // "KEEL"

    let directory: String
    let key: String

    private var path: String { Files.join(directory, "\(key).tokens") }

    func write(_ data: TokenizedDataset) throws {
        var words: [Int32] = [TokenCache.magic, TokenCache.version] + keyWords
        words += [
            data.rows.count, data.droppedLongPrompt, data.droppedEmptyAnswer,
            data.droppedEmptyPrompt, data.truncated,
        ]
        .map { Int32(clamping: $0) }
        for row in data.rows {
            words += [
                Int32(clamping: row.index), Int32(row.prompt.count), Int32(row.completions.count),
            ]
            words += row.completions.map { Int32($0.count) }
            words += row.prompt
            for completion in row.completions { words += completion }
            words.append(row.masks == nil ? 0 : 1)
            for mask in row.masks ?? [] { words += TokenCache.packed(mask) }
        }
        words += TokenCache.checksum(words[...])
        var bytes: [UInt8] = []
        bytes.reserveCapacity(words.count * 4)
        for word in words {
            let bits = UInt32(bitPattern: word)
            bytes.append(UInt8(truncatingIfNeeded: bits))
            bytes.append(UInt8(truncatingIfNeeded: bits >> 8))
            bytes.append(UInt8(truncatingIfNeeded: bits >> 16))
            bytes.append(UInt8(truncatingIfNeeded: bits >> 24))
        }
        try Files.makeDirectory(directory)
        try AtomicWrite.file(path, bytes)
    }

    /// The cached rows; nil when there are none or the file is not whole.
    func read(rowLimit: Int) -> TokenizedDataset? {
        guard Files.exists(path), let bytes = try? Files.read(path), bytes.count % 4 == 0 else {
            return nil
        }
        var words = [Int32](repeating: 0, count: bytes.count / 4)
        for i in words.indices {
            let low = UInt32(bytes[4 * i]) | UInt32(bytes[4 * i + 1]) << 8
            words[i] = Int32(
                bitPattern: low | UInt32(bytes[4 * i + 2]) << 16 | UInt32(bytes[4 * i + 3]) << 24)
        }
        guard words.count >= 11, words[0] == TokenCache.magic, words[1] == TokenCache.version,
            Array(words[2..<4]) == keyWords,
            Array(words.suffix(2)) == TokenCache.checksum(words.dropLast(2))
        else { return nil }
        var rest = WordReader(words: words.dropLast(2), at: 4)
        var data = TokenizedDataset(contentHash: key)
        guard let rows = rest.count(), rows <= rowLimit, let long = rest.count(),
            let empty = rest.count(),
            let bare = rest.count(), let cut = rest.count()
        else { return nil }
        (data.droppedLongPrompt, data.droppedEmptyAnswer, data.droppedEmptyPrompt, data.truncated) =
            (long, empty, bare, cut)
        data.rows.reserveCapacity(rows)
        for _ in 0..<rows {
            guard let index = rest.count(), index < rowLimit, let prompt = rest.count(),
                let sides = rest.count(), sides <= rest.left
            else { return nil }
            let counts = (0..<sides).compactMap { _ in rest.count() }
            guard counts.count == sides, let promptIDs = rest.take(prompt) else { return nil }
            let completions = counts.compactMap { rest.take($0) }
            guard completions.count == sides else { return nil }
            guard let hasMasks = rest.count(), hasMasks <= 1 else { return nil }
            var masks: [[Bool]]?
            if hasMasks == 1 {
                let read = counts.compactMap { count in
                    rest.take((count + 31) / 32).map { TokenCache.unpacked($0, count) }
                }
                guard read.count == sides else { return nil }
                masks = read
            }
            data.rows.append(
                TokenizedRow(
                    index: index, prompt: promptIDs, completions: completions, masks: masks))
        }
        return rest.isAtEnd ? data : nil
    }

    /// 32 marks a word.
    private static func packed(_ mask: [Bool]) -> [Int32] {
        stride(from: 0, to: mask.count, by: 32).map { start in
            var word: UInt32 = 0
            for at in start..<min(start + 32, mask.count) where mask[at] {
                word |= 1 << UInt32(at - start)
            }
            return Int32(bitPattern: word)
        }
    }

    private static func unpacked(_ words: [Int32], _ count: Int) -> [Bool] {
        (0..<count).map { UInt32(bitPattern: words[$0 / 32]) & 1 << UInt32($0 % 32) != 0 }
    }

    private var keyWords: [Int32] {
        [key.prefix(8), key.dropFirst(8).prefix(8)].map {
            Int32(bitPattern: UInt32($0, radix: 16) ?? 0)
        }
    }

    /// 64 bits that a changed, missing or moved word changes.
    private static func checksum(_ words: ArraySlice<Int32>) -> [Int32] {
        var hash: UInt64 = 0x9E37_79B9_7F4A_7C15
        for word in words {
            hash = (hash ^ UInt64(UInt32(bitPattern: word))) &* 0xFF51_AFD7_ED55_8CCD
            hash ^= hash >> 32
        }
        return [Int32(truncatingIfNeeded: hash), Int32(truncatingIfNeeded: hash >> 32)]
    }
}

/// Words taken one after the other, never beyond the end.
private struct WordReader {
    let words: ArraySlice<Int32>
    var at: Int

    var isAtEnd: Bool { at == words.endIndex }
    var left: Int { words.endIndex - at }

    /// A word that counts something.
    mutating func count() -> Int? {
        guard at < words.endIndex, words[at] >= 0 else { return nil }
        defer { at += 1 }
        return Int(words[at])
    }

    mutating func take(_ count: Int) -> [Int32]? {
        guard count <= words.endIndex - at else { return nil }
        defer { at += count }
        return Array(words[at..<(at + count)])
    }
}
