import CKeel

/// A parameter of a component: one declaration holds name, range, default and help.
///
///     @Param("beta", 0.0..., "Strength of the pull towards the reference policy.")
///     var beta = 0.1
///
/// The host refuses values outside the range, wrong types and unknown names before an instance is made.
/// A type is `Double`, `Int`, `Bool`, `String`, each also optional (null in the config), `[Double]`, `[Int]`,
/// `[String]`, `JSONValue`, or an enum of strings with `CaseIterable`.
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

/// Parameters that relatives have in common: a struct of `@Param`s, held as a stored property of each.
///
///     struct Discount: ParameterGroup {
///         @Param("gamma", 0.0...1.0, "Discount.") var gamma = 1.0
///     }
///     struct Mine: Objective {
///         let discount = Discount()
///
/// To the host they are the component's own, in the place where the group is declared.
public protocol ParameterGroup {}

/// The parameters of an instance, in the order of their declaration, those of superclasses first.
func parameters(of instance: Any) -> [any AnyParam] {
    var found: [any AnyParam] = []
    var mirror: Mirror? = Mirror(reflecting: instance)
    while let level = mirror {
        found = level.children.flatMap { own($0.value) } + found
        mirror = level.superclassMirror
    }
    return found
}

/// What a stored property adds to them: itself, or the parameters of a group.
private func own(_ value: Any) -> [any AnyParam] {
    if let parameter = value as? any AnyParam { return [parameter] }
    return value is any ParameterGroup ? parameters(of: value) : []
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

extension Param where Value == String {
    /// A text.
    public init(wrappedValue: String, _ name: String, _ help: String) {
        let schema = ParamSchema(name: name, help: help, type: KEEL_TYPE_STR, text: wrappedValue)
        box = ParamBox(wrappedValue, schema) { call, name in call.string(name) }
    }
}

extension Param where Value == [Double] {
    private init(_ list: [Double], _ name: String, _ min: Double, _ max: Double, _ help: String) {
        let schema = ParamSchema(
            name: name, help: help, type: KEEL_TYPE_F64_LIST, min: min, max: max,
            text: JSONValue.array(list.map(JSONValue.number)).text)
        box = ParamBox(list, schema) { call, name in call.list(name) }
    }

    /// A list of numbers of any size.
    public init(wrappedValue: [Double], _ name: String, _ help: String) {
        self.init(wrappedValue, name, 0, 0, help)
    }
    /// A list of numbers, each within the range, both ends allowed.
    public init(
        wrappedValue: [Double], _ name: String, _ range: ClosedRange<Double>, _ help: String
    ) {
        self.init(wrappedValue, name, range.lowerBound, range.upperBound, help)
    }
}

extension Param where Value == [Int] {
    /// A list of whole numbers.
    public init(wrappedValue: [Int], _ name: String, _ help: String) {
        let schema = ParamSchema(
            name: name, help: help, type: KEEL_TYPE_F64_LIST,
            text: JSONValue.array(wrappedValue.map { .number(Double($0)) }).text)
        box = ParamBox(wrappedValue, schema) { call, name in
            let list = call.list(name)
            let whole = list.compactMap { Int(exactly: $0) }
            if whole.count == list.count { return whole }
            call.fail(.invalid, "parameter \(name) must hold whole numbers, not \(list)")
            return nil
        }
    }
}

extension Param {
    /// A parameter that is written as JSON: what its text means is told by `take`, nil = something else.
    private init(
        json value: Value, _ name: String, _ help: String, text: String, _ what: String,
        _ take: @escaping (JSONValue) -> Value?
    ) {
        let schema = ParamSchema(name: name, help: help, type: KEEL_TYPE_JSON, text: text)
        box = ParamBox(value, schema) { call, name in
            if let found = JSONValue(parsing: call.json(name)).flatMap(take) { return found }
            call.fail(.invalid, "parameter \(name) must be \(what), not \(call.json(name))")
            return nil
        }
    }
}

extension Param where Value == JSONValue {
    /// Any JSON value.
    public init(wrappedValue: JSONValue, _ name: String, _ help: String) {
        self.init(json: wrappedValue, name, help, text: wrappedValue.text, "JSON") { $0 }
    }
}

extension Param where Value == [String] {
    /// A list of texts, written as a JSON array.
    public init(wrappedValue: [String], _ name: String, _ help: String) {
        self.init(
            json: wrappedValue, name, help,
            text: JSONValue.array(wrappedValue.map(JSONValue.string)).text, "an array of strings"
        ) { value in
            guard let list = value.array else { return nil }
            let texts = list.compactMap(\.string)
            return texts.count == list.count ? texts : nil
        }
    }
}

extension Param where Value == Bool? {
    /// A switch that may be left open: true, false or null.
    public init(wrappedValue: Bool?, _ name: String, _ help: String) {
        self.init(
            json: wrappedValue, name, help, text: wrappedValue.map { "\($0)" } ?? "null",
            "true, false or null"
        ) { $0 == .null ? .some(nil) : $0.bool.map { .some($0) } }
    }
}

extension Param where Value == Double? {
    /// A number that may be left open: null.
    public init(wrappedValue: Double?, _ name: String, _ help: String) {
        self.init(
            json: wrappedValue, name, help,
            text: wrappedValue.map { JSONValue.number($0).text } ?? "null", "a number or null"
        ) { $0 == .null ? .some(nil) : $0.number.map { .some($0) } }
    }
}

extension Param where Value == Int? {
    /// A whole number that may be left open: null.
    public init(wrappedValue: Int?, _ name: String, _ help: String) {
        self.init(
            json: wrappedValue, name, help, text: wrappedValue.map { "\($0)" } ?? "null",
            "a whole number or null"
        ) { $0 == .null ? .some(nil) : $0.number.flatMap { Int(exactly: $0) }.map { .some($0) } }
    }
}

extension Param where Value == String? {
    /// A text that may be left open: null.
    public init(wrappedValue: String?, _ name: String, _ help: String) {
        self.init(
            json: wrappedValue, name, help,
            text: (wrappedValue.map(JSONValue.string) ?? .null).text, "a text or null"
        ) { $0 == .null ? .some(nil) : $0.string.map { .some($0) } }
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
