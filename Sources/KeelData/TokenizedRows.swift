import KeelCore

/// The rows of a data set as tokens, in the order of the file.
///
/// They lie as records in a mapped file, or in memory where there is none, and become values when they are asked for:
/// of a row in a file 8 bytes stay in memory, whatever its length. They are rows of files: none is one of several
/// `sibling`s.
package struct TokenizedRows: RandomAccessCollection, Sendable {
    private let records: TokenRecords
    /// The record of each row: where it begins.
    private var starts: [Int]
    /// By records: the completions in another order than the record's.
    private var orders: [Int: [Int]] = [:]

    init(_ records: TokenRecords, starts: [Int]) {
        self.records = records
        self.starts = starts
    }

    /// Rows in memory.
    package init(_ rows: some Sequence<TokenizedRow> = []) {
        var (words, starts): ([Int32], [Int]) = ([], [])
        for row in rows {
            starts.append(words.count)
            words += TokenRecords.record(row)
        }
        self.init(.memory(words), starts: starts)
    }

    package var startIndex: Int { 0 }
    package var endIndex: Int { starts.count }

    package subscript(place: Int) -> TokenizedRow {
        let start = starts[place]
        guard var row = records.row(at: start) else {
            preconditionFailure("the token cache was changed while it was used")
        }
        if let order = orders[start] {
            row.completions = order.map { row.completions[$0] }
            row.masks = row.masks.map { masks in order.map { masks[$0] } }
        }
        return row
    }

    /// How long a row is, for which its tokens need not be read.
    package func shape(of place: Int) -> RowShape {
        let start = starts[place]
        var shape = records.shape(at: start)
        if let order = orders[start] { shape.completions = order.map { shape.completions[$0] } }
        return shape
    }

    /// How long the rows are.
    package var shapes: some RandomAccessCollection<RowShape> { indices.lazy.map { shape(of: $0) } }

    /// The number that a row has in its file, for which its tokens need not be read.
    package func index(of place: Int) -> Int { records.index(at: starts[place]) }

    /// The numbers of all rows, in ascending order.
    package var indexes: [Int] { indices.map { index(of: $0) } }

    /// Where the row with a number stands; nil when it was left out.
    package func place(ofIndex index: Int) -> Int? {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if self.index(of: middle) < index { low = middle + 1 } else { high = middle }
        }
        return low < count && self.index(of: low) == index ? low : nil
    }

    /// Leaves out the rows whose numbers do not pass.
    package mutating func keep(_ isKept: (_ index: Int) -> Bool) {
        starts.removeAll { !isKept(records.index(at: $0)) }
    }

    /// Puts the completions of a row in another order.
    ///
    /// - Parameter order: for each new place, the completion that stands there now.
    package mutating func sort(_ place: Int, by order: [Int]) {
        let start = starts[place]
        let new = orders[start].map { known in order.map { known[$0] } } ?? order
        orders[start] = new.elementsEqual(new.indices) ? nil : new
    }
}

extension TokenizedRows: Equatable {
    package static func == (one: TokenizedRows, other: TokenizedRows) -> Bool {
        one.elementsEqual(other)
    }
}

/// Rows as records of 32-bit words: the words that follow, the row's number, tokens of the prompt, completions, tokens
/// of each, ids, whether masks follow, 32 marks a word.
enum TokenRecords: Sendable {
    case memory([Int32])
    case file(MappedFile)

    private func words(_ range: Range<Int>) -> [Int32] {
        switch self {
        case .memory(let words): Array(words[range])
        case .file(let file): file.words(range)
        }
    }

    private var count: Int {
        switch self {
        case .memory(let words): words.count
        case .file(let file): file.wordCount
        }
    }

    /// The words of the record at `start`, its first included; nil where there is no whole one.
    func record(at start: Int) -> [Int32]? {
        guard start >= 0, start < count else { return nil }
        let length = Int(words(start..<start + 1)[0])
        guard length >= 0, length < count - start else { return nil }
        return words(start..<start + 1 + length)
    }

    func index(at start: Int) -> Int { Int(words(start + 1..<start + 2)[0]) }

    func shape(at start: Int) -> RowShape {
        let head = words(start + 1..<start + 4).map { Int($0) }
        return RowShape(
            index: head[0], prompt: head[1],
            completions: words(start + 4..<start + 4 + head[2]).map { Int($0) })
    }

    func row(at start: Int) -> TokenizedRow? { record(at: start).flatMap(TokenRecords.row) }

    static func record(_ row: TokenizedRow) -> [Int32] {
        var words: [Int32] = [
            0, Int32(clamping: row.index), Int32(row.prompt.count), Int32(row.completions.count),
        ]
        words += row.completions.map { Int32($0.count) }
        words += row.prompt
        for completion in row.completions { words += completion }
        words.append(row.masks == nil ? 0 : 1)
        for mask in row.masks ?? [] { words += packed(mask) }
        words[0] = Int32(words.count - 1)
        return words
    }

    /// nil for words that are no record.
    static func row(_ record: [Int32]) -> TokenizedRow? {
        var rest = WordReader(words: record[...], at: 1)
        guard let index = rest.count(), let prompt = rest.count(), let sides = rest.count(),
            sides <= rest.left
        else { return nil }
        let counts = (0..<sides).compactMap { _ in rest.count() }
        guard counts.count == sides, let promptIDs = rest.take(prompt) else { return nil }
        let completions = counts.compactMap { rest.take($0) }
        guard completions.count == sides, let hasMasks = rest.count(), hasMasks <= 1 else {
            return nil
        }
        var masks: [[Bool]]?
        if hasMasks == 1 {
            let read = counts.compactMap { count in
                rest.take((count + 31) / 32).map { unpacked($0, count) }
            }
            guard read.count == sides else { return nil }
            masks = read
        }
        guard rest.isAtEnd else { return nil }
        return TokenizedRow(
            index: index, prompt: promptIDs, completions: completions, masks: masks)
    }

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
