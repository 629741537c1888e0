import KeelCore

/// SentencePiece's compiled map of characters to their normal forms.
///
/// The file holds, in base64: the size of a double-array trie, the trie, and the normal forms, each ending with 0.
struct Precompiled: Normalizer {
    private let trie: [UInt32]
    private let forms: [UInt8]

    init(_ part: Part) throws {
        let map = part["precompiled_charsmap"]
        guard let bytes = Base64.decode(try map.text()) else {
            throw map.error("the character map is no base64")
        }
        func word(_ at: Int) -> UInt32 {
            (0..<4).reduce(0) { $0 | UInt32(bytes[at + $1]) << UInt32(8 * $1) }
        }
        guard bytes.count >= 4, Int(word(0)) % 4 == 0, Int(word(0)) + 4 <= bytes.count else {
            throw map.error("the character map of \(bytes.count) bytes ends inside its trie")
        }
        let end = 4 + Int(word(0))
        trie = stride(from: 4, to: end, by: 4).map(word)
        forms = Array(bytes[end...])
        guard !trie.isEmpty, String(validating: forms, as: UTF8.self) != nil else {
            throw map.error("the character map holds no trie, or forms that are no UTF-8")
        }
    }

    func normalize(_ text: AlignedText) throws -> AlignedText {
        var changes: [CharacterChange] = []
        var isChanged = false
        for cluster in String(decoding: text.bytes, as: UTF8.self) {
            let whole = Array(cluster.utf8)
            if whole.count < 6, let form = form(of: whole) {
                isChanged = true
                Precompiled.replace(whole, by: form, &changes)
                continue
            }
            for scalar in cluster.unicodeScalars {
                let bytes = Array(UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
                if let form = form(of: bytes) {
                    isChanged = true
                    Precompiled.replace(bytes, by: form, &changes)
                } else {
                    changes.append(CharacterChange(scalar: scalar.value, shift: 0))
                }
            }
        }
        return isChanged ? text.applying(changes) : text
    }

    /// What the shortest entry that begins the bytes is mapped to; the library takes that one too.
    private func form(of bytes: [UInt8]) -> ArraySlice<UInt8>? {
        var node = offset(trie[0])
        for byte in bytes where byte != 0 {
            node ^= Int(byte)
            guard trie.indices.contains(node), trie[node] & 0x8000_00FF == UInt32(byte) else {
                return nil
            }
            let unit = trie[node]
            node ^= offset(unit)
            guard unit >> 8 & 1 == 1 else { continue }
            guard trie.indices.contains(node) else { return nil }
            let start = Int(trie[node] & 0x7FFF_FFFF)
            guard start <= forms.count else { return nil }
            return forms[start...].prefix { $0 != 0 }
        }
        return nil
    }

    private func offset(_ unit: UInt32) -> Int { Int(unit >> 10) << Int((unit & 1 << 9) >> 6) }

    /// Characters that are too many come from the last one; the last one stands for those that are gone.
    private static func replace(
        _ old: [UInt8], by new: ArraySlice<UInt8>, _ changes: inout [CharacterChange]
    ) {
        let text = String(decoding: new, as: UTF8.self).unicodeScalars
        changes += text.map { CharacterChange(scalar: $0.value, shift: 0) }
        let extra = text.count - old.count { $0 & 0xC0 != 0x80 }
        if extra > 0 {
            for i in changes.indices.suffix(extra) { changes[i].shift = 1 }
        } else if extra < 0, !changes.isEmpty {
            changes[changes.count - 1].shift += extra
        }
    }
}
