import CJSON

/// A JSON value.
///
/// Objects keep the order of their keys.
package enum JSON: Equatable, Sendable {
    case null
    case bool(Bool)
    case int(Int64)
    case double(Double)
    case string(String)
    case array([JSON])
    case object(JSONObject)
}

/// An ordered JSON object; look-up is linear, iteration is in file order.
package struct JSONObject: Equatable, Sendable, Sequence, ExpressibleByDictionaryLiteral {
    package private(set) var pairs: [Pair] = []

    package struct Pair: Equatable, Sendable {
        package var key: String
        package var value: JSON
    }

    package init() {}

    package init(dictionaryLiteral elements: (String, JSON)...) {
        pairs = elements.map { Pair(key: $0.0, value: $0.1) }
    }

    package init(pairs: [(String, JSON)]) {
        self.pairs = pairs.map { Pair(key: $0.0, value: $0.1) }
    }

    package var count: Int { pairs.count }
    package var isEmpty: Bool { pairs.isEmpty }
    package var keys: [String] { pairs.map(\.key) }

    package subscript(key: String) -> JSON? {
        get { pairs.first { $0.key == key }?.value }
        set {
            if let at = pairs.firstIndex(where: { $0.key == key }) {
                if let newValue { pairs[at].value = newValue } else { pairs.remove(at: at) }
            } else if let newValue {
                pairs.append(Pair(key: key, value: newValue))
            }
        }
    }

    /// Adds a pair without looking for the key: the caller knows that it is new.
    package mutating func append(_ key: String, _ value: JSON) {
        pairs.append(Pair(key: key, value: value))
    }

    package func makeIterator() -> AnyIterator<(key: String, value: JSON)> {
        var iterator = pairs.makeIterator()
        return AnyIterator { iterator.next().map { ($0.key, $0.value) } }
    }
}

// MARK: - Reading values

extension JSON {
    package var isNull: Bool { self == .null }

    package var bool: Bool? {
        if case .bool(let value) = self { value } else { nil }
    }

    /// The integer, also of a number written as `3.0`.
    package var int: Int? {
        switch self {
        case .int(let value): Int(exactly: value)
        case .double(let value): Int(exactly: value)
        default: nil
        }
    }

    package var double: Double? {
        switch self {
        case .int(let value): Double(value)
        case .double(let value): value
        default: nil
        }
    }

    package var string: String? {
        if case .string(let value) = self { value } else { nil }
    }

    package var array: [JSON]? {
        if case .array(let value) = self { value } else { nil }
    }

    package var object: JSONObject? {
        if case .object(let value) = self { value } else { nil }
    }

    package subscript(key: String) -> JSON? { object?[key] }

    package subscript(index: Int) -> JSON? {
        guard let array, array.indices.contains(index) else { return nil }
        return array[index]
    }

    /// The value at an RFC 6901 pointer (`/meta/answer`, `/items/0`), or nil.
    package func value(at pointer: String) -> JSON? {
        if pointer.isEmpty { return self }
        guard pointer.hasPrefix("/") else { return nil }
        var value = self
        for part in pointer.dropFirst().split(separator: "/", omittingEmptySubsequences: false) {
            let key = part.replacing("~1", with: "/").replacing("~0", with: "~")
            switch value {
            case .object(let object):
                guard let next = object[key] else { return nil }
                value = next
            case .array:
                guard let index = Int(key), let next = value[index] else { return nil }
                value = next
            default: return nil
            }
        }
        return value
    }

    /// The kind of value, as an error names it.
    package var kind: String {
        switch self {
        case .null: "null"
        case .bool: "true or false"
        case .int: "an integer"
        case .double: "a number"
        case .string: "a string"
        case .array: "a list"
        case .object: "an object"
        }
    }
}

extension StringProtocol {
    fileprivate func replacing(_ what: String, with other: String) -> String {
        guard contains("~") else { return String(self) }
        var out = ""
        var rest = self[...]
        while !rest.isEmpty {
            if rest.hasPrefix(what) {
                out += other
                rest = rest.dropFirst(what.count)
            } else {
                out.append(rest.removeFirst())
            }
        }
        return out
    }
}

extension JSON: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByFloatLiteral, ExpressibleByStringLiteral, ExpressibleByArrayLiteral,
    ExpressibleByDictionaryLiteral
{
    package init(nilLiteral: ()) { self = .null }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(integerLiteral value: Int64) { self = .int(value) }
    package init(floatLiteral value: Double) { self = .double(value) }
    package init(stringLiteral value: String) { self = .string(value) }
    package init(arrayLiteral elements: JSON...) { self = .array(elements) }
    package init(dictionaryLiteral elements: (String, JSON)...) {
        self = .object(JSONObject(pairs: elements))
    }
    package init(_ value: Int) { self = .int(Int64(value)) }
}

// MARK: - Parsing

extension JSON {
    package enum Duplicates: Sendable { case reject, lastWins }

    /// The value that a whole text holds.
    ///
    /// json-c reads it; what json-c lets pass although JSON forbids it (single quotes, NaN, clamped
    /// integers, bytes after the value) is refused by a scan beforehand.
    ///
    /// - Parameters:
    ///   - name: shown in errors: a path, or a path and line.
    ///   - duplicates: `.reject` refuses an object that has a key twice.
    ///   - maxDepth: nesting beyond this is refused.
    /// - Throws: `KeelError` with code `badData`, its place as `name:line:column`.
    package static func parse(
        _ bytes: UnsafeRawBufferPointer, name: String, duplicates: Duplicates = .lastWins,
        maxDepth: Int = 512
    ) throws -> JSON {
        _ = try JSONScanner.scan(bytes, name: name, duplicates: duplicates, maxDepth: maxDepth)
        return try parseScanned(bytes, name: name, maxDepth: maxDepth)
    }

    package static func parse(
        _ bytes: [UInt8], name: String, duplicates: Duplicates = .lastWins, maxDepth: Int = 512
    ) throws -> JSON {
        try bytes.withUnsafeBytes {
            try parse($0, name: name, duplicates: duplicates, maxDepth: maxDepth)
        }
    }

    package static func parse(
        _ text: String, name: String = "JSON", duplicates: Duplicates = .lastWins,
        maxDepth: Int = 512
    ) throws -> JSON {
        try parse(Array(text.utf8), name: name, duplicates: duplicates, maxDepth: maxDepth)
    }

    /// One line of a file or stream.
    ///
    /// - Parameter place: what errors call the line; the column follows it.
    package static func parse(line: [UInt8], place: String) throws -> JSON {
        do {
            return try parse(line, name: "")
        } catch var error as KeelError {
            // The parser counts lines from this one.
            error.at = "\(place):\(error.at?.split(separator: ":").last ?? "1")"
            throw error.fixed(by: "write one JSON value per line, in UTF-8")
        }
    }

    /// json-c's part: bytes that the scanner has let pass.
    static func parseScanned(
        _ bytes: UnsafeRawBufferPointer, name: String, maxDepth: Int
    ) throws -> JSON {
        guard bytes.count < Int(Int32.max) else {
            throw KeelError(
                "json", "a JSON text of \(bytes.count) bytes is too long", at: name, code: .badData)
        }
        guard let tokener = json_tokener_new_ex(Int32(maxDepth + 1)) else {
            throw KeelError("json", "out of memory", at: name, code: .io)
        }
        defer { json_tokener_free(tokener) }
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8)
        var root: OpaquePointer?
        if let base = bytes.baseAddress, !bytes.isEmpty {
            root = json_tokener_parse_ex(
                tokener, base.assumingMemoryBound(to: CChar.self), Int32(bytes.count))
        }
        var error = json_tokener_get_error(tokener)
        var end = json_tokener_get_parse_end(tokener)
        let isBlank = bytes.allSatisfy { $0 <= 0x20 }
        if error == json_tokener_continue, !isBlank {
            // A bare number waits for more: an end of text finishes it.
            var nul: CChar = 0
            root = json_tokener_parse_ex(tokener, &nul, 1)
            error = json_tokener_get_error(tokener)
            end = bytes.count
        }
        defer { json_object_put(root) }
        guard error == json_tokener_success, !isBlank else {
            let text =
                error == json_tokener_continue || isBlank
                ? "the text ends before the value does"
                : String(cString: json_tokener_error_desc(error))
            throw KeelError(
                "json", "not valid JSON: \(text)",
                at: JSONScanner.place(bytes, min(end, bytes.count), name),
                code: .badData)
        }
        return convert(root)
    }

    private static func convert(_ value: OpaquePointer?) -> JSON {
        switch json_object_get_type(value) {
        case json_type_boolean: return .bool(json_object_get_boolean(value) != 0)
        case json_type_int:
            let unsigned = json_object_get_uint64(value)
            return unsigned > UInt64(Int64.max)
                ? .double(Double(unsigned)) : .int(json_object_get_int64(value))
        case json_type_double: return .double(json_object_get_double(value))
        case json_type_string:
            let count = Int(json_object_get_string_len(value))
            guard let text = json_object_get_string(value) else { return .string("") }
            return .string(
                String(decoding: UnsafeRawBufferPointer(start: text, count: count), as: UTF8.self))
        case json_type_array:
            let count = json_object_array_length(value)
            return .array((0..<count).map { convert(json_object_array_get_idx(value, $0)) })
        case json_type_object:
            var object = JSONObject()
            var at = json_object_iter_begin(value)
            var end = json_object_iter_end(value)
            while json_object_iter_equal(&at, &end) == 0 {
                if let name = json_object_iter_peek_name(&at) {
                    object.append(String(cString: name), convert(json_object_iter_peek_value(&at)))
                }
                json_object_iter_next(&at)
            }
            return .object(object)
        default: return .null
        }
    }
}

// MARK: - Writing

extension JSON {
    /// JSON text.
    ///
    /// Doubles keep every digit that matters; non-finite ones become "nan", "inf", "-inf".
    package func text(pretty: Bool = false) -> String {
        var out = ""
        write(to: &out, indent: pretty ? 0 : nil)
        return out
    }

    private func write(to out: inout String, indent: Int?) {
        switch self {
        case .null: out += "null"
        case .bool(let value): out += value ? "true" : "false"
        case .int(let value): out += String(value)
        case .double(let value):
            if value.isFinite {
                out += value.description
            } else {
                out += value.isNaN ? "\"nan\"" : value > 0 ? "\"inf\"" : "\"-inf\""
            }
        case .string(let value): JSON.quote(value, to: &out)
        case .array(let values):
            // Lists of plain values stay on one line.
            let flat = indent == nil || values.allSatisfy { $0.array == nil && $0.object == nil }
            list(values, "[", "]", flat ? nil : indent, to: &out) { $0.write(to: &$1, indent: $2) }
        case .object(let object):
            list(object.pairs, "{", "}", indent, to: &out) {
                JSON.quote($0.key, to: &$1)
                $1 += indent == nil ? ":" : ": "
                $0.value.write(to: &$1, indent: $2)
            }
        }
    }

    private func list<T>(
        _ items: [T], _ open: String, _ close: String, _ indent: Int?, to out: inout String,
        _ item: (T, inout String, Int?) -> Void
    ) {
        out += open
        for (i, value) in items.enumerated() {
            if i > 0 { out += indent == nil ? "," : "," }
            if let indent {
                out += "\n" + String(repeating: " ", count: 2 * (indent + 1))
            } else if i > 0 {
                out += " "
            }
            item(value, &out, indent.map { $0 + 1 })
        }
        if let indent, !items.isEmpty { out += "\n" + String(repeating: " ", count: 2 * indent) }
        out += close
    }

    private static func quote(_ text: String, to out: inout String) {
        out += "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case "\u{0}"..."\u{1F}", "\u{7F}", "\u{2028}", "\u{2029}":
                let hex = String(scalar.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: out.unicodeScalars.append(scalar)
            }
        }
        out += "\""
    }
}
