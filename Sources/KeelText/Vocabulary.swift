import KeelCore

/// Tokens as bytes, and their ids.
package struct Vocabulary: Sendable {
    /// Ids beyond this are refused: a table of all ids has to fit into memory.
    package static let largestID = 1 << 24 - 1

    private var tokens: ByteTable
    private var ids: [Int32] = []
    private var byID: [Int32] = []

    package init() { tokens = ByteTable() }

    /// Reads `{"token": id, ...}`.
    ///
    /// - Throws: `KeelError` (badData) for ids that are negative or beyond `largestID`.
    init(_ part: Part) throws {
        guard let object = part.json.object else {
            throw part.error(
                "the vocabulary must be an object of tokens and ids, found \(part.json.kind)")
        }
        tokens = ByteTable(capacity: object.count)
        ids.reserveCapacity(object.count)
        byID.reserveCapacity(object.count)
        for pair in object.pairs {
            guard let id = pair.value.int, (0...Vocabulary.largestID).contains(id) else {
                throw part.error(
                    "the id of token \"\(pair.key)\" must be an integer from 0 to \(Vocabulary.largestID), "
                        + "found \(pair.value.text())")
            }
            insert(Array(pair.key.utf8), Int32(id))
        }
    }

    /// How many different tokens there are.
    package var count: Int { tokens.count }

    /// One more than the largest id: the rows an embedding needs.
    package var idLimit: Int { byID.count }

    package func id(_ bytes: [UInt8], _ range: Range<Int>) -> Int32? {
        tokens.find(bytes, range).map { ids[$0] }
    }

    package func id(_ bytes: [UInt8]) -> Int32? { id(bytes, 0..<bytes.count) }

    package func id(_ token: String) -> Int32? { id(Array(token.utf8)) }

    /// The bytes of a token as tokenizer.json writes it, or nil for an id that is not in use.
    package func bytes(_ id: Int32) -> ArraySlice<UInt8>? {
        guard id >= 0, Int(id) < byID.count, byID[Int(id)] >= 0 else { return nil }
        return tokens[Int(byID[Int(id)])]
    }

    /// Adds a token; a token that is known already gets the new id.
    package mutating func insert(_ bytes: [UInt8], _ id: Int32) {
        precondition((0...Vocabulary.largestID).contains(Int(id)), "token id \(id)")
        let place = tokens.insert(bytes, 0..<bytes.count)
        if place.isNew { ids.append(id) } else { ids[place.index] = id }
        while byID.count <= Int(id) { byID.append(-1) }
        byID[Int(id)] = Int32(place.index)
    }
}
