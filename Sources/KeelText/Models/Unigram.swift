import KeelCore

/// The likeliest way to cut a word into tokens, given a log-probability of each.
///
/// Kudo 2018, arXiv:1804.10959; Viterbi's algorithm over the tokens that begin at each character.
package struct Unigram: TokenModel {
    package let vocabulary: Vocabulary
    private let scores: [Double]
    private let trie: ByteTrie
    private let unknown: Int32?
    /// A character without a token costs this: the worst score less 10.
    private let unknownScore: Double
    /// The ids of `<0x00>` to `<0xFF>`; empty without byte fallback.
    private let byteIDs: [Int32]

    package init(_ part: Part) throws {
        var vocabulary = Vocabulary()
        var scores: [Double] = []
        var trie = ByteTrie()
        for (id, entry) in try part["vocab"].list().enumerated() {
            guard let pair = entry.json.array, pair.count == 2, let token = pair[0].string,
                let score = pair[1].double, score.isFinite
            else { throw entry.error("a token and its score are needed here") }
            guard id <= Vocabulary.largestID else { throw entry.error("too many tokens") }
            vocabulary.insert(Array(token.utf8), Int32(id))
            trie.insert(Array(token.utf8), Int32(id))
            scores.append(score)
        }
        guard !scores.isEmpty else { throw part["vocab"].error("the vocabulary is empty") }
        self.vocabulary = vocabulary
        self.scores = scores
        self.trie = trie
        unknownScore = (scores.min() ?? 0) - 10
        unknown =
            part["unk_id"].json.isNull
            ? nil : Int32(try part["unk_id"].integer(0...scores.count - 1))
        byteIDs =
            try part["byte_fallback"].flag(false) ? BPE.byteTokens(vocabulary) : []
        if unknown == nil, byteIDs.isEmpty || byteIDs.contains(-1) {
            throw part["unk_id"].error("a model without an unknown token needs all byte tokens")
        }
    }

    /// The best way to reach a place: from where, by which token.
    private struct Step {
        var start = -1
        var id: Int32 = -1
        var score = 0.0
    }

    package func tokenize(
        _ bytes: [UInt8], _ range: Range<Int>, _ scratch: Scratch, into tokens: inout Tokens
    ) {
        guard !scratch.cache.emit(bytes, range, into: &tokens) else { return }
        let before = tokens.count
        for (id, part) in joinUnknown(path(bytes, range)) {
            if let id = id >= 0 ? id : vocabulary.id(bytes, part) {
                tokens.append(id, part)
            } else if !byteIDs.isEmpty, !bytes[part].contains(where: { byteIDs[Int($0)] < 0 }) {
                for at in part { tokens.append(byteIDs[Int(bytes[at])], at..<at + 1) }
            } else if let unknown {
                tokens.append(unknown, part)
            }
        }
        scratch.cache.remember(bytes, range, tokens, from: before)
    }

    /// The tokens of the best path; -1 where a character has none.
    private func path(_ bytes: [UInt8], _ range: Range<Int>) -> [(id: Int32, range: Range<Int>)] {
        var best = [Step](repeating: Step(), count: range.count + 1)
        func offer(_ end: Int, _ step: Step) {
            let at = end - range.lowerBound
            if best[at].start < 0 || step.score > best[at].score { best[at] = step }
        }
        var at = range.lowerBound
        while at < range.upperBound {
            let here = best[at - range.lowerBound].score
            let next = min(at + AlignedText.length(bytes[at]), range.upperBound)
            var isCovered = false
            trie.forEachPrefix(of: bytes, at..<range.upperBound) { id, end in
                offer(end, Step(start: at, id: id, score: here + scores[Int(id)]))
                if end == next { isCovered = true }
            }
            if !isCovered { offer(next, Step(start: at, id: -1, score: here + unknownScore)) }
            at = next
        }
        var path: [(id: Int32, range: Range<Int>)] = []
        var end = range.upperBound
        while end > range.lowerBound {
            let step = best[end - range.lowerBound]
            path.append((step.id == unknown ? -1 : step.id, step.start..<end))
            end = step.start
        }
        return path.reversed()
    }

    /// Neighbours without a token become one; the whole may be a token again.
    private func joinUnknown(
        _ path: [(id: Int32, range: Range<Int>)]
    ) -> [(id: Int32, range: Range<Int>)] {
        var joined: [(id: Int32, range: Range<Int>)] = []
        for piece in path {
            if piece.id < 0, let last = joined.last, last.id < 0 {
                joined[joined.count - 1].range = last.range.lowerBound..<piece.range.upperBound
            } else {
                joined.append(piece)
            }
        }
        return joined
    }
}

/// Byte strings by their beginnings.
struct ByteTrie: Sendable {
    /// First child and next sibling of each node; node 0 is the root.
    private var children: [Int32] = [-1]
    private var siblings: [Int32] = [-1]
    private var bytes: [UInt8] = [0]
    private var ids: [Int32] = [-1]

    /// A string that is there already gets the new id.
    mutating func insert(_ string: [UInt8], _ id: Int32) {
        var node = 0
        for byte in string {
            if let next = child(of: node, byte) {
                node = next
                continue
            }
            bytes.append(byte)
            ids.append(-1)
            children.append(-1)
            siblings.append(children[node])
            children[node] = Int32(bytes.count - 1)
            node = bytes.count - 1
        }
        if node > 0 { ids[node] = id }
    }

    /// Calls `body` with the id and the end of every string that `text[range]` begins with, the shortest first.
    func forEachPrefix(of text: [UInt8], _ range: Range<Int>, _ body: (Int32, Int) -> Void) {
        var node = 0
        for at in range {
            guard let next = child(of: node, text[at]) else { return }
            node = next
            if ids[node] >= 0 { body(ids[node], at + 1) }
        }
    }

    private func child(of node: Int, _ byte: UInt8) -> Int? {
        var next = children[node]
        while next >= 0 {
            if bytes[Int(next)] == byte { return Int(next) }
            next = siblings[Int(next)]
        }
        return nil
    }
}
