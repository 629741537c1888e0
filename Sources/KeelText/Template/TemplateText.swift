/// Python's string functions, on code points.
enum TemplateText {
    /// What Python's `strip()` takes away.
    static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.isWhitespace || (0x1C...0x1F).contains(scalar.value)
    }

    /// The text without characters at its ends.
    ///
    /// - Parameter set: the characters; nil = white space.
    static func strip(
        _ text: String, _ set: String?, left: Bool = true, right: Bool = true
    ) -> String {
        let members = set.map { Set($0.unicodeScalars) }
        func goes(_ scalar: Unicode.Scalar) -> Bool { members?.contains(scalar) ?? isSpace(scalar) }
        var scalars = text.unicodeScalars[...]
        while left, let first = scalars.first, goes(first) { scalars.removeFirst() }
        while right, let last = scalars.last, goes(last) { scalars.removeLast() }
        return String(scalars)
    }

    /// Where a piece begins in a text, as an index of its UTF-8.
    static func find(_ piece: String, in text: String, from start: Int = 0) -> Int? {
        find(Array(piece.utf8), in: Array(text.utf8), from: start)
    }

    private static func find(_ needle: [UInt8], in bytes: [UInt8], from start: Int) -> Int? {
        guard !needle.isEmpty else { return start <= bytes.count ? start : nil }
        var at = start
        while at + needle.count <= bytes.count {
            if bytes[at] == needle[0], bytes[at..<at + needle.count].elementsEqual(needle) {
                return at
            }
            at += 1
        }
        return nil
    }

    /// The parts between separators; nil separates at runs of white space and drops empty parts.
    static func split(_ text: String, _ separator: String?, most: Int?) -> [String] {
        // Below 0: all.
        var most = max(most ?? -1, -1)
        guard let separator, !separator.isEmpty else {
            var parts: [String] = []
            var rest = text.unicodeScalars[...]
            while true {
                rest = rest.drop(while: isSpace)
                guard !rest.isEmpty else { return parts }
                if most == 0 {
                    parts.append(strip(String(rest), nil, left: false))
                    return parts
                }
                if most > 0 { most -= 1 }
                let word = rest.prefix { !isSpace($0) }
                parts.append(String(word))
                rest = rest.dropFirst(word.count)
            }
        }
        var parts: [String] = []
        let (bytes, needle) = (Array(text.utf8), Array(separator.utf8))
        var start = 0
        while most != 0, let found = find(needle, in: bytes, from: start) {
            parts.append(String(decoding: bytes[start..<found], as: UTF8.self))
            start = found + needle.count
            if most > 0 { most -= 1 }
        }
        return parts + [String(decoding: bytes[start...], as: UTF8.self)]
    }

    /// The first letter large, the others small.
    static func capitalize(_ text: String) -> String {
        guard let first = text.first else { return text }
        return String(first).uppercased() + text.dropFirst().lowercased()
    }

    /// Every word capitalised.
    static func title(_ text: String) -> String {
        var out = ""
        var startsWord = true
        for character in text {
            out += startsWord ? character.uppercased() : character.lowercased()
            startsWord = !character.isLetter
        }
        return out
    }
}
