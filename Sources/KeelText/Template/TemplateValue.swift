import KeelCore

/// A value of a template's language.
enum TemplateValue: @unchecked Sendable {
    /// A name or attribute that is not there; prints as nothing.
    case undefined
    case null
    case bool(Bool)
    case int(Int)
    case double(Double)
    case string(String)
    case list([TemplateValue])
    case dictionary([(key: String, value: TemplateValue)])
    /// `namespace(...)`: attributes that loops can set. Lives within one rendering, on one thread.
    case namespace(Namespace)
    case macro(Macro)
    /// A function of the host, by its name.
    case function(String)

    final class Namespace {
        var values: [String: TemplateValue] = [:]
    }

    final class Macro {
        let name: String
        let parameters: [TemplateStatement.Parameter]
        let body: [TemplateStatement]

        init(name: String, parameters: [TemplateStatement.Parameter], body: [TemplateStatement]) {
            self.name = name
            self.parameters = parameters
            self.body = body
        }
    }

    init(_ json: JSON) {
        switch json {
        case .null: self = .null
        case .bool(let value): self = .bool(value)
        case .int(let value): self = .int(Int(value))
        case .double(let value): self = .double(value)
        case .string(let text): self = .string(text)
        case .array(let items): self = .list(items.map(TemplateValue.init))
        case .object(let object):
            self = .dictionary(object.map { ($0.key, TemplateValue($0.value)) })
        }
    }

    /// What the language calls it, for messages.
    var kind: String {
        switch self {
        case .undefined: "undefined"
        case .null: "none"
        case .bool: "a boolean"
        case .int, .double: "a number"
        case .string: "a string"
        case .list: "a list"
        case .dictionary: "a mapping"
        case .namespace: "a namespace"
        case .macro, .function: "a function"
        }
    }

    /// What `if` makes of it.
    var isTrue: Bool {
        switch self {
        case .undefined, .null: false
        case .bool(let value): value
        case .int(let value): value != 0
        case .double(let value): value != 0
        case .string(let text): !text.isEmpty
        case .list(let items): !items.isEmpty
        case .dictionary(let pairs): !pairs.isEmpty
        case .namespace, .macro, .function: true
        }
    }

    /// As a number, booleans counting 0 and 1.
    var number: Double? {
        switch self {
        case .bool(let value): value ? 1 : 0
        case .int(let value): Double(value)
        case .double(let value): value
        default: nil
        }
    }

    /// As an integer, booleans counting 0 and 1.
    var integer: Int? {
        switch self {
        case .bool(let value): value ? 1 : 0
        case .int(let value): value
        default: nil
        }
    }

    func equals(_ other: TemplateValue) -> Bool {
        switch (self, other) {
        case (.undefined, .undefined), (.null, .null): return true
        case (.string(let a), .string(let b)): return a.utf8.elementsEqual(b.utf8)
        case (.list(let a), .list(let b)):
            return a.count == b.count && zip(a, b).allSatisfy { $0.equals($1) }
        case (.dictionary(let a), .dictionary(let b)):
            return a.count == b.count
                && a.allSatisfy { pair in
                    b.contains { $0.key == pair.key && $0.value.equals(pair.value) }
                }
        case (.namespace(let a), .namespace(let b)): return a === b
        default:
            guard let a = number, let b = other.number else { return false }
            return a == b
        }
    }

    /// As `{{ }}` prints it.
    var text: String {
        switch self {
        case .undefined: ""
        case .string(let text): text
        default: repr
        }
    }

    /// As Python writes it inside of a list.
    private var repr: String {
        switch self {
        case .undefined: return "Undefined"
        case .null: return "None"
        case .bool(let value): return value ? "True" : "False"
        case .int(let value): return String(value)
        case .double(let value): return "\(value)"
        case .string(let text):
            let quote = text.contains("'") && !text.contains("\"") ? "\"" : "'"
            var out = quote
            for scalar in text.unicodeScalars {
                switch scalar {
                case "\\": out += "\\\\"
                case "\n": out += "\\n"
                case "\r": out += "\\r"
                case "\t": out += "\\t"
                case "'" where quote == "'": out += "\\'"
                default: out.unicodeScalars.append(scalar)
                }
            }
            return out + quote
        case .list(let items): return "[" + items.map(\.repr).joined(separator: ", ") + "]"
        case .dictionary(let pairs):
            return "{"
                + pairs.map { "\(TemplateValue.string($0.key).repr): \($0.value.repr)" }
                .joined(separator: ", ") + "}"
        case .namespace: return "<Namespace>"
        case .macro(let macro): return "<Macro '\(macro.name)'>"
        case .function(let name): return "<function \(name)>"
        }
    }

    /// The values in it, itself included, and how deep they stand.
    var extent: (cells: Int, depth: Int) {
        let inner: [TemplateValue] =
            switch self {
            case .list(let items): items
            case .dictionary(let pairs): pairs.map(\.value)
            default: []
            }
        return inner.map(\.extent).reduce((1, 1)) { ($0.0 + $1.cells, max($0.1, $1.depth + 1)) }
    }

    /// As JSON, for `tojson`; nil for what JSON has no form for.
    var json: JSON? {
        switch self {
        case .undefined, .namespace, .macro, .function: return nil
        case .null: return .null
        case .bool(let value): return .bool(value)
        case .int(let value): return .int(Int64(value))
        case .double(let value): return .double(value)
        case .string(let text): return .string(text)
        case .list(let items):
            let values = items.compactMap(\.json)
            return values.count == items.count ? .array(values) : nil
        case .dictionary(let pairs):
            var object = JSONObject()
            for (key, value) in pairs {
                guard let json = value.json else { return nil }
                object[key] = json
            }
            return .object(object)
        }
    }
}
