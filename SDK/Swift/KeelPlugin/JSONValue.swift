/// A JSON value: of a `@Param`, or of a row of the data set.
public indirect enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case array([JSONValue])
    /// Members in the order of the text.
    case object([(key: String, value: JSONValue)])

    /// The value of a JSON text; nil when it is none.
    public init?(parsing text: String) {
        var reader = JSONReader(text)
        guard let value = reader.value(depth: 0), reader.isAtEnd else { return nil }
        self = value
    }

    /// Whether both hold the same values; members in the same order.
    public static func == (a: JSONValue, b: JSONValue) -> Bool {
        switch (a, b) {
        case (.null, .null): true
        case (.bool(let a), .bool(let b)): a == b
        case (.number(let a), .number(let b)): a == b
        case (.string(let a), .string(let b)): a == b
        case (.array(let a), .array(let b)): a == b
        case (.object(let a), .object(let b)):
            a.count == b.count && zip(a, b).allSatisfy { $0.key == $1.key && $0.value == $1.value }
        default: false
        }
    }

    /// The member of an object; nil for anything else.
    public subscript(key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.last { $0.key == key }?.value
    }
    /// The element of an array; nil for anything else, and beyond its end.
    public subscript(index: Int) -> JSONValue? {
        guard case .array(let list) = self, list.indices.contains(index) else { return nil }
        return list[index]
    }
    /// The characters of a string.
    public var string: String? { if case .string(let text) = self { text } else { nil } }
    /// The number.
    public var number: Double? { if case .number(let value) = self { value } else { nil } }
    /// The truth value.
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    /// The elements of an array.
    public var array: [JSONValue]? { if case .array(let list) = self { list } else { nil } }

    /// The value as JSON text.
    public var text: String {
        switch self {
        case .null: "null"
        case .bool(let value): value ? "true" : "false"
        case .number(let value):
            value.isFinite
                ? (Int64(exactly: value).map { "\($0)" } ?? "\(value)") : "null"
        case .string(let text): JSONValue.quoted(text)
        case .array(let list): "[" + list.map(\.text).joined(separator: ",") + "]"
        case .object(let members):
            "{"
                + members.map { JSONValue.quoted($0.key) + ":" + $0.value.text }.joined(
                    separator: ",") + "}"
        }
    }

    private static func quoted(_ text: String) -> String {
        var out = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case "\0"..<" ":
                let hex = String(scalar.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out + "\""
    }
}

/// Reads JSON text; whatever is no JSON ends in nil.
private struct JSONReader {
    private let text: [UInt8]
    private var place = 0

    init(_ text: String) { self.text = Array(text.utf8) }

    var isAtEnd: Bool {
        mutating get {
            skip()
            return place == text.count
        }
    }

    private mutating func skip() {
        while place < text.count, [0x20, 0x0A, 0x0D, 0x09].contains(text[place]) { place += 1 }
    }

    private mutating func take(_ byte: Character) -> Bool {
        skip()
        guard place < text.count, text[place] == byte.asciiValue else { return false }
        place += 1
        return true
    }

    private mutating func take(word: String) -> Bool {
        guard text[place...].starts(with: word.utf8) else { return false }
        place += word.utf8.count
        return true
    }

    mutating func value(depth: Int) -> JSONValue? {
        skip()
        guard place < text.count, depth < 256 else { return nil }
        if take("{") { return object(depth) }
        if take("[") { return array(depth) }
        if text[place] == 0x22 { return string().map(JSONValue.string) }
        if take(word: "true") { return .bool(true) }
        if take(word: "false") { return .bool(false) }
        if take(word: "null") { return .null }
        return number()
    }

    private mutating func object(_ depth: Int) -> JSONValue? {
        var members: [(key: String, value: JSONValue)] = []
        if take("}") { return .object(members) }
        repeat {
            skip()
            guard let key = string(), take(":"), let value = value(depth: depth + 1) else {
                return nil
            }
            members.append((key, value))
        } while take(",")
        return take("}") ? .object(members) : nil
    }

    private mutating func array(_ depth: Int) -> JSONValue? {
        var list: [JSONValue] = []
        if take("]") { return .array(list) }
        repeat {
            guard let value = value(depth: depth + 1) else { return nil }
            list.append(value)
        } while take(",")
        return take("]") ? .array(list) : nil
    }

    private mutating func number() -> JSONValue? {
        let start = place
        while place < text.count, "+-.0123456789eE".utf8.contains(text[place]) { place += 1 }
        let word = String(decoding: text[start..<place], as: UTF8.self)
        guard let first = word.unicodeScalars.first, first == "-" || ("0"..."9").contains(first)
        else { return nil }
        return Double(word).map(JSONValue.number)
    }

    private mutating func string() -> String? {
        guard place < text.count, text[place] == 0x22 else { return nil }
        place += 1
        var units: [UInt16] = []
        var start = place
        while place < text.count {
            let byte = text[place]
            guard byte == 0x22 || byte == 0x5C else {
                guard byte >= 0x20 else { return nil }
                place += 1
                continue
            }
            units += String(decoding: text[start..<place], as: UTF8.self).utf16
            place += 1
            if byte == 0x22 { return String(decoding: units, as: UTF16.self) }
            guard let unit = escaped() else { return nil }
            units.append(unit)
            start = place
        }
        return nil
    }

    private mutating func escaped() -> UInt16? {
        guard place < text.count else { return nil }
        defer { place += 1 }
        switch text[place] {
        case UInt8(ascii: "n"): return 10
        case UInt8(ascii: "t"): return 9
        case UInt8(ascii: "r"): return 13
        case UInt8(ascii: "b"): return 8
        case UInt8(ascii: "f"): return 12
        case UInt8(ascii: "u"):
            guard place + 4 < text.count else { return nil }
            let digits = String(decoding: text[place + 1...place + 4], as: UTF8.self)
            place += 4
            return UInt16(digits, radix: 16)
        case let plain where [0x22, 0x5C, 0x2F].contains(plain): return UInt16(plain)
        default: return nil
        }
    }
}
