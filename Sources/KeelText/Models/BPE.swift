import KeelCore

/// Byte-pair encoding: starts from characters and joins the neighbours whose merge ranks first.
///
/// Sennrich et al. 2016, arXiv:1508.07909, with the options of the `tokenizers` library.
package struct BPE: TokenModel {
    package let vocabulary: Vocabulary
    private let merges: PairTable
    private let unknown: Int32?
    /// Neighbouring unknown characters become one token.
    private let fusesUnknown: Bool
    /// A word that is a token is taken whole, whatever the merges say.
    private let ignoresMerges: Bool
    private let prefix: [UInt8]
    private let suffix: [UInt8]
    /// The ids of `<0x00>` to `<0xFF>` (-1: none); empty without byte fallback.
    private let byteIDs: [Int32]
    /// No token holds U+2581 behind another character: what stands before and after it merges
    /// apart.
    private let cutsAtMarks: Bool

    package init(_ part: Part) throws {
        if let dropout = part["dropout"].json.double, dropout != 0 {
            throw part["dropout"].error(
                "merge dropout \(dropout) would tokenise the same text differently each time",
                fix: "set \"dropout\": null in tokenizer.json")
        }
        vocabulary = try Vocabulary(part["vocab"])
        prefix = Array((try part["continuing_subword_prefix"].optionalText() ?? "").utf8)
        suffix = Array((try part["end_of_word_suffix"].optionalText() ?? "").utf8)
        fusesUnknown = try part["fuse_unk"].flag(false)
        ignoresMerges = try part["ignore_merges"].flag(false)
        if let token = try part["unk_token"].optionalText() {
            guard let id = vocabulary.id(token) else {
                throw part["unk_token"].error(
                    "the unknown token \"\(token)\" is not in the vocabulary")
            }
            unknown = id
        } else {
            unknown = nil
        }
        byteIDs = try part["byte_fallback"].flag(false) ? BPE.byteTokens(vocabulary) : []
        merges = try BPE.readMerges(part["merges"], vocabulary, prefix)
        cutsAtMarks =
            unknown != nil && !ignoresMerges && prefix.isEmpty && suffix.isEmpty
            && BPE.keepsMarksInFront(vocabulary)
    }

    /// U+2581, which stands for a space.
    private static let mark = Array("\u{2581}".utf8)

    /// Whether the mark is a token, and stands only in front of the tokens that hold it.
    private static func keepsMarksInFront(_ vocabulary: Vocabulary) -> Bool {
        guard vocabulary.id(mark) != nil else { return false }
        return (0..<vocabulary.idLimit).allSatisfy { id in
            guard let bytes = vocabulary.bytes(Int32(id)) else { return true }
            return nextMark(Array(bytes), 0..<bytes.count) == nil
        }
    }

    /// The first mark that follows another character.
    private static func nextMark(_ bytes: [UInt8], _ range: Range<Int>) -> Int? {
        var at = range.lowerBound
        func isMark(_ at: Int) -> Bool {
            at + 3 <= range.upperBound && bytes[at] == 0xE2 && bytes[at + 1] == 0x96
                && bytes[at + 2] == 0x81
        }
        while isMark(at) { at += 3 }
        while at < range.upperBound {
            if isMark(at) { return at }
            at += 1
        }
        return nil
    }

    /// The ids of `<0x00>` to `<0xFF>`; -1 where there is none.
    static func byteTokens(_ vocabulary: Vocabulary) -> [Int32] {
        (0..<256).map { byte in
            let text = String(byte, radix: 16, uppercase: true)
            return vocabulary.id("<0x\(byte < 16 ? "0" : "")\(text)>") ?? -1
        }
    }

    /// Reads merges spelled `"a b"` or `["a", "b"]`; the place in the list is the rank.
    private static func readMerges(
        _ part: Part, _ vocabulary: Vocabulary, _ prefix: [UInt8]
    ) throws -> PairTable {
        guard let list = part.json.array else {
            throw part.error("the merges must be a list, found \(part.json.kind)")
        }
        guard list.count < Int(Int32.max) else {
            throw part.error("\(list.count) merges are too many")
        }
        var table = PairTable(capacity: list.count)
        var joined: [UInt8] = []
        for (rank, entry) in list.enumerated() {
            guard let (bytes, left, right) = halves(entry) else {
                throw part.error(
                    "merge \(rank) must be \"a b\" or [\"a\", \"b\"], found \(entry.text())")
            }
            joined.removeAll(keepingCapacity: true)
            joined.append(contentsOf: bytes[left])
            joined.append(contentsOf: bytes[right].dropFirst(prefix.count))
            guard let first = vocabulary.id(bytes, left), let second = vocabulary.id(bytes, right),
                let whole = vocabulary.id(joined)
            else {
                let missing =
                    vocabulary.id(bytes, left) == nil
                    ? Array(bytes[left])
                    : vocabulary.id(bytes, right) == nil ? Array(bytes[right]) : joined
                throw part.error(
                    "merge \(rank) names \"\(String(decoding: missing, as: UTF8.self))\", which is not in the vocabulary"
                )
            }
            table[first, second] = PairTable.Merge(rank: Int32(rank), id: whole)
        }
        return table
    }

    /// The bytes of a merge, and where its two tokens are in them.
    private static func halves(
        _ entry: JSON
    ) -> (bytes: [UInt8], left: Range<Int>, right: Range<Int>)? {
        if let text = entry.string {
            let bytes = Array(text.utf8)
            guard let space = bytes.firstIndex(of: UInt8(ascii: " ")),
                !bytes[(space + 1)...].contains(UInt8(ascii: " "))
            else { return nil }
            return (bytes, 0..<space, (space + 1)..<bytes.count)
        }
        guard let pair = entry.array, pair.count == 2, let left = pair[0].string,
            let right = pair[1].string
        else { return nil }
        let bytes = Array(left.utf8) + Array(right.utf8)
        return (bytes, 0..<left.utf8.count, left.utf8.count..<bytes.count)
    }

    package func tokenize(
        _ bytes: [UInt8], _ range: Range<Int>, _ scratch: Scratch, into tokens: inout Tokens
    ) {
        if ignoresMerges, let id = vocabulary.id(bytes, range) {
            tokens.append(id, range)
            return
        }
        var rest = range
        while cutsAtMarks, let cut = BPE.nextMark(bytes, rest) {
            tokenizeWord(bytes, rest.lowerBound..<cut, scratch, into: &tokens)
            rest = cut..<rest.upperBound
        }
        tokenizeWord(bytes, rest, scratch, into: &tokens)
    }

    private func tokenizeWord(
        _ bytes: [UInt8], _ range: Range<Int>, _ scratch: Scratch, into tokens: inout Tokens
    ) {
        guard !scratch.cache.emit(bytes, range, into: &tokens) else { return }
        let first = tokens.count
        begin(bytes, range, &scratch.word)
        merge(&scratch.word)
        emit(scratch.word, range, into: &tokens)
        scratch.cache.remember(bytes, range, tokens, from: first)
    }

    /// One symbol per character: its token, else its bytes' tokens, else the unknown token, else
    /// nothing.
    private func begin(_ bytes: [UInt8], _ range: Range<Int>, _ word: inout Word) {
        word.removeAll()
        var unknownBytes = 0
        func flush(_ word: inout Word) {
            if unknownBytes > 0, let unknown { word.append(unknown, unknownBytes) }
            unknownBytes = 0
        }
        var at = range.lowerBound
        while at < range.upperBound {
            let end = min(at + AlignedText.length(bytes[at]), range.upperBound)
            if let id = character(bytes, at..<end, of: range) {
                flush(&word)
                word.append(id, end - at)
            } else if let ids = fallback(bytes, at..<end, of: range) {
                for (i, id) in ids.enumerated() { word.append(id, i < end - at ? 1 : 0) }
            } else {
                if !fusesUnknown { flush(&word) }
                unknownBytes += end - at
            }
            at = end
        }
        flush(&word)
    }

    private func character(_ bytes: [UInt8], _ range: Range<Int>, of word: Range<Int>) -> Int32? {
        prefix.isEmpty && suffix.isEmpty
            ? vocabulary.id(bytes, range) : vocabulary.id(spelled(bytes, range, of: word))
    }

    /// A character as the vocabulary spells it inside a word.
    private func spelled(_ bytes: [UInt8], _ range: Range<Int>, of word: Range<Int>) -> [UInt8] {
        (range.lowerBound > word.lowerBound ? prefix : []) + bytes[range]
            + (range.upperBound == word.upperBound ? suffix : [])
    }

    private func fallback(_ bytes: [UInt8], _ range: Range<Int>, of word: Range<Int>) -> [Int32]? {
        guard !byteIDs.isEmpty else { return nil }
        let ids = spelled(bytes, range, of: word).map { byteIDs[Int($0)] }
        return ids.contains(-1) ? nil : ids
    }

    /// Merges until no pair is left: lowest rank first, leftmost first among equals.
    private func merge(_ word: inout Word) {
        guard word.count > 1 else { return }
        for at in 0..<(word.count - 1) { offer(at, &word) }
        while let (rank, at) = word.queue.pop() {
            guard word.isAlive(at), let right = word.right(of: at),
                let found = merges[word.ids[at], word.ids[right]], found.rank == rank
            else { continue }
            word.join(at, right, found.id)
            if let left = word.left(of: at) { offer(left, &word) }
            offer(at, &word)
        }
    }

    private func offer(_ at: Int, _ word: inout Word) {
        if let right = word.right(of: at), let found = merges[word.ids[at], word.ids[right]] {
            word.queue.push(found.rank, at)
        }
    }

    private func emit(_ word: Word, _ range: Range<Int>, into tokens: inout Tokens) {
        var start = range.lowerBound
        for at in 0..<word.count where word.isAlive(at) {
            // Characters that have no token at all take no room: what follows moves up, as in HF.
            tokens.append(word.ids[at], start..<(start + word.lengths[at]))
            start += word.lengths[at]
        }
    }
}
