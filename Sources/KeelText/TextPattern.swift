import KeelCore

/// What `Split` and `Replace` look for: a string as it stands, or a regular expression.
package enum TextPattern: Sendable {
    case literal([UInt8])
    case regex(PCRE)

    /// Reads `{"String": ...}` or `{"Regex": ...}`; a bare string is a literal.
    init(_ part: Part) throws {
        if let text = part.json.string {
            self = .literal(Array(text.utf8))
        } else if let text = part.json["String"]?.string {
            self = .literal(Array(text.utf8))
        } else if let text = part.json["Regex"]?.string {
            self = .regex(try PCRE(text, at: part.place))
        } else {
            throw part.error(
                "a pattern must be {\"String\": ...} or {\"Regex\": ...}, found \(part.json.kind)",
                fix: "check the pattern in tokenizer.json")
        }
    }

    /// The non-empty matches inside `bytes[range]`, from left to right, without overlap.
    package func matches(in bytes: [UInt8], _ range: Range<Int>) throws -> [Range<Int>] {
        var found: [Range<Int>] = []
        switch self {
        case .regex(let regex): try regex.matches(in: bytes, range, into: &found)
        case .literal(let wanted):
            guard let first = wanted.first else { return [] }
            var at = range.lowerBound
            while at + wanted.count <= range.upperBound {
                if bytes[at] == first, bytes[at..<(at + wanted.count)].elementsEqual(wanted) {
                    found.append(at..<(at + wanted.count))
                    at += wanted.count
                } else {
                    at += 1
                }
            }
        }
        return found
    }
}
