import CKeel

/// A parameter of a component: one declaration holds name, range, default and help.
///
///     @Param("beta", 0.0..., "Strength of the pull towards the reference policy.")
///     var beta = 0.1
///
/// The host refuses values outside the range, wrong types and unknown names before an instance is made.
/// A type is `Double`, `Int`, `Bool`, `String`, `[Double]`, or an enum of strings with `CaseIterable`.
@propertyWrapper
public struct Param<Value> {
    let box: ParamBox<Value>

    /// The value from the configuration.
    public var wrappedValue: Value {
        get { box.value }
        nonmutating set { box.value = newValue }
    }
}

/// What the host is told about a parameter.
struct ParamSchema {
    var name: String
    var help: String
    var type: Int
    var number = 0.0
    var min = 0.0
    var max = 0.0
    var text: String?
    var choices: [String] = []
}

/// A parameter found by reflection in an instance: its schema, and how it takes the configured value.
protocol AnyParam {
    var schema: ParamSchema { get }
    func read(_ call: Call)
}

/// Where the value lives, so that a copy of the component sees it.
final class ParamBox<Value> {
    var value: Value
    let schema: ParamSchema
    let fetch: (Call, String) -> Value?

    init(_ value: Value, _ schema: ParamSchema, _ fetch: @escaping (Call, String) -> Value?) {
        self.value = value
        self.schema = schema
        self.fetch = fetch
    }
}

extension Param: AnyParam {
    var schema: ParamSchema { box.schema }

    func read(_ call: Call) {
        if let value = box.fetch(call, box.schema.name) { box.value = value }
    }
}

/// The parameters of an instance, in the order of their declaration, those of superclasses first.
func parameters(of instance: Any) -> [any AnyParam] {
    var found: [any AnyParam] = []
    var mirror: Mirror? = Mirror(reflecting: instance)
    while let level = mirror {
        found = level.children.compactMap { $0.value as? any AnyParam } + found
        mirror = level.superclassMirror
    }
    return found
}

// MARK: Declarations

extension Param where Value == Double {
    private init(_ value: Double, _ name: String, _ min: Double, _ max: Double, _ help: String) {
        let schema = ParamSchema(
            name: name, help: help, type: KEEL_TYPE_F64, number: value, min: min, max: max)
        box = ParamBox(value, schema) { call, name in call.number(name) }
    }

    /// A number of any size.
    public init(wrappedValue: Double, _ name: String, _ help: String) {
        self.init(wrappedValue, name, 0, 0, help)
    }
    /// A number from `range.lowerBound` on, as in `0.0...`.
    public init(
        wrappedValue: Double, _ name: String, _ range: PartialRangeFrom<Double>, _ help: String
    ) {
        self.init(wrappedValue, name, range.lowerBound, .infinity, help)
    }
    /// A number within the range, both ends allowed.
    public init(wrappedValue: Double, _ name: String, _ range: ClosedRange<Double>, _ help: String)
    {
        self.init(wrappedValue, name, range.lowerBound, range.upperBound, help)
    }
}

extension Param where Value == Int {
    private init(_ value: Int, _ name: String, _ min: Double, _ max: Double, _ help: String) {
        let schema = ParamSchema(
            name: name, help: help, type: KEEL_TYPE_I64, number: Double(value), min: min, max: max)
        box = ParamBox(value, schema) { call, name in Int(exactly: call.number(name)) }
    }

    /// A whole number of any size.
    public init(wrappedValue: Int, _ name: String, _ help: String) {
        self.init(wrappedValue, name, 0, 0, help)
    }
    /// A whole number from `range.lowerBound` on, as in `0...`.
    public init(wrappedValue: Int, _ name: String, _ range: PartialRangeFrom<Int>, _ help: String) {
        self.init(wrappedValue, name, Double(range.lowerBound), .infinity, help)
    }
    /// A whole number within the range, both ends allowed.
    public init(wrappedValue: Int, _ name: String, _ range: ClosedRange<Int>, _ help: String) {
        self.init(wrappedValue, name, Double(range.lowerBound), Double(range.upperBound), help)
    }
}

extension Param where Value == Bool {
    /// A switch.
    public init(wrappedValue: Bool, _ name: String, _ help: String) {
        let schema = ParamSchema(
            name: name, help: help, type: KEEL_TYPE_BOOL, number: wrappedValue ? 1 : 0)
        box = ParamBox(wrappedValue, schema) { call, name in call.number(name) != 0 }
    }
}

extension Param where Value == Bool? {
    /// A switch that may be left open: true, false or null.
    public init(wrappedValue: Bool?, _ name: String, _ help: String) {
        let schema = ParamSchema(
            name: name, help: help, type: KEEL_TYPE_JSON,
            text: wrappedValue.map { "\($0)" } ?? "null")
        box = ParamBox(wrappedValue, schema) { call, name in
            switch call.json(name) {
            case "true": return true
            case "false": return false
            case "null", "": return .some(nil)
            default:
                call.fail(.invalid, "parameter \(name) must be true, false or null")
                return nil
            }
        }
    }
}

extension Param where Value == String {
    /// A text.
    public init(wrappedValue: String, _ name: String, _ help: String) {
        let schema = ParamSchema(name: name, help: help, type: KEEL_TYPE_STR, text: wrappedValue)
        box = ParamBox(wrappedValue, schema) { call, name in call.string(name) }
    }
}

extension Param where Value == [Double] {
    /// A list of numbers of any size.
    public init(wrappedValue: [Double], _ name: String, _ help: String) {
        let text = "[" + wrappedValue.map { "\($0)" }.joined(separator: ",") + "]"
        let schema = ParamSchema(name: name, help: help, type: KEEL_TYPE_F64_LIST, text: text)
        box = ParamBox(wrappedValue, schema) { call, name in call.list(name) }
    }
}

extension Param where Value == [String] {
    /// A list of texts, written as a JSON array.
    public init(wrappedValue: [String], _ name: String, _ help: String) {
        let schema = ParamSchema(
            name: name, help: help, type: KEEL_TYPE_JSON, text: jsonText(wrappedValue))
        box = ParamBox(wrappedValue, schema) { call, name in
            guard let list = parseStrings(call.json(name)) else {
                call.fail(.invalid, "parameter \(name) must be an array of strings")
                return nil
            }
            return list
        }
    }
}

extension Param where Value: RawRepresentable & CaseIterable, Value.RawValue == String {
    /// One of the cases of an enum, by its raw value.
    public init(wrappedValue: Value, _ name: String, _ help: String) {
        let schema = ParamSchema(
            name: name, help: help, type: KEEL_TYPE_ENUM, text: wrappedValue.rawValue,
            choices: Value.allCases.map(\.rawValue))
        box = ParamBox(wrappedValue, schema) { call, name in Value(rawValue: call.string(name)) }
    }
}

// MARK: Arrays of strings as JSON

/// The JSON text of an array of strings.
func jsonText(_ list: [String]) -> String {
    let quoted = list.map { text in
        "\""
            + text.unicodeScalars.map { scalar in
                switch scalar {
                case "\"": "\\\""
                case "\\": "\\\\"
                case "\n": "\\n"
                case "\t": "\\t"
                default: String(scalar)
                }
            }.joined() + "\""
    }
    return "[" + quoted.joined(separator: ",") + "]"
}

/// The strings of a JSON array that holds nothing else, or nil; the host has checked the JSON.
func parseStrings(_ json: String) -> [String]? {
    var list: [String] = []
    var text: [UInt16]?
    var opened = false
    var units = Array(json.utf16).makeIterator()
    while let unit = units.next() {
        if var current = text {
            switch unit {
            case 0x22:  // "
                list.append(String(decoding: current, as: UTF16.self))
                text = nil
            case 0x5C:  // backslash
                guard let escaped = units.next() else { return nil }
                let plain: [UInt16: UInt16] = [0x6E: 10, 0x74: 9, 0x72: 13, 0x62: 8, 0x66: 12]
                if escaped == 0x75 {
                    let digits = (0..<4).compactMap { _ in units.next() }
                    guard let code = UInt16(String(decoding: digits, as: UTF16.self), radix: 16)
                    else { return nil }
                    current.append(code)
                } else {
                    current.append(plain[escaped] ?? escaped)
                }
                text = current
            default:
                current.append(unit)
                text = current
            }
        } else if unit == 0x22, opened {
            text = []
        } else if unit == 0x5B, !opened {
            opened = true
        } else if ![0x20, 0x0A, 0x0D, 0x09, 0x2C, 0x5D].contains(unit) {
            return nil
        }
    }
    return opened && text == nil ? list : nil
}
