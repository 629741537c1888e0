import KeelCore

/// What is known of a config key besides its type: everything a reader, a schema and a page need.
package struct KeySpec: Sendable {
    package let name: String
    package let help: String
    package var bounds = Bounds.any
    package var path: PathKind?
    package var isRequired = false
}

/// The numbers, or lengths of a list, that a key takes.
package struct Bounds: Sendable {
    var low: Double?
    var high: Double?
    var excludesLow = false

    package static let any = Bounds()

    /// `low` or more.
    package static func from(_ low: Double) -> Bounds { Bounds(low: low) }

    /// More than `low`.
    package static func above(_ low: Double) -> Bounds { Bounds(low: low, excludesLow: true) }

    /// From `low` to `high`, both included.
    package static func within(_ low: Double, _ high: Double) -> Bounds {
        Bounds(low: low, high: high)
    }

    /// Rows of a batch, ranks, heads: what lengths and sizes of tensors are multiplied by.
    package static let batch = Bounds.within(1, 65536)

    /// Counts that are multiplied by one another: batches of a step, completions of a prompt.
    package static let count = Bounds.within(1, 1e6)

    /// Counts that are added up and compared: steps, tokens, calls.
    package static func number(from low: Double) -> Bounds { .within(low, 1e9) }

    /// Passes over the rows.
    package static let epochs = Bounds(low: 0, high: 1e6, excludesLow: true)

    func contains(_ value: Double) -> Bool {
        guard value.isFinite else { return false }
        if let low, excludesLow ? value <= low : value < low { return false }
        if let high, value > high { return false }
        return true
    }

    /// `1 or more`, `above 0`, `from 0 to 1`; nil when everything is taken.
    var text: String? {
        func plain(_ x: Double) -> String { Int(exactly: x).map(String.init) ?? "\(x)" }
        switch (low, high) {
        case (let low?, let high?):
            return excludesLow
                ? "above \(plain(low)), up to \(plain(high))"
                : "from \(plain(low)) to \(plain(high))"
        case (let low?, nil): return excludesLow ? "above \(plain(low))" : "\(plain(low)) or more"
        case (nil, let high?): return "\(plain(high)) or less"
        case (nil, nil): return nil
        }
    }
}

/// What a key that names a place in the file system points to.
package enum PathKind: Sendable {
    /// A file that must be there.
    case file
    /// A folder that must be there.
    case folder
    /// A path that need not exist yet.
    case output
    /// A plugin: a bare name, or the path of a shared library (with `#component` where it holds several).
    case plugin
    /// A shared library: a path, or a name that the system's loader finds (`libm.so.6`).
    case library
}

/// One config key: its name, type, range, default and help in one declaration.
///
///     @Key("learning_rate", .from(0), "Peak learning rate.") var learningRate = 1e-6
///
/// The reader, the JSON Schema, the page and the range errors all come from it (`ConfigReader`,
/// `ConfigSchema`). A key without a default is required.
@propertyWrapper
package struct Key<Value: ConfigValue>: AnyKey, Sendable {
    package let spec: KeySpec
    private var box: Box<Value>

    package init(wrappedValue: Value, _ name: String, _ help: String) {
        spec = KeySpec(name: name, help: help)
        box = Box(wrappedValue)
    }

    package init(wrappedValue: Value, _ name: String, _ bounds: Bounds, _ help: String) {
        spec = KeySpec(name: name, help: help, bounds: bounds)
        box = Box(wrappedValue)
    }

    package init(wrappedValue: Value, _ name: String, _ path: PathKind, _ help: String) {
        spec = KeySpec(name: name, help: help, path: path)
        box = Box(wrappedValue)
    }

    package var wrappedValue: Value {
        get { box.value }
        // A new box: copies of the section keep their own value.
        set { box = Box(newValue) }
    }

    package var json: JSON { box.value.json }

    package var schema: JSONObject { Value.schema(spec) }

    package var typeName: String { Value.typeName(spec) }

    package var sections: [any AnyKey]? { Value.sectionKeys }

    package func read(_ value: JSON, _ path: String, _ reader: ConfigReader) {
        if let found = Value.read(value, spec, path, reader) { box.value = found }
    }
}

extension Key where Value == String {
    /// A key that must be given.
    package init(_ name: String, required path: PathKind, _ help: String) {
        spec = KeySpec(name: name, help: help, path: path, isRequired: true)
        box = Box("")
    }

    /// A text that must be given and is no path.
    package init(required name: String, _ help: String) {
        spec = KeySpec(name: name, help: help, isRequired: true)
        box = Box("")
    }
}

/// A key whatever its type, as reflection over a section finds it.
package protocol AnyKey: Sendable {
    var spec: KeySpec { get }
    var json: JSON { get }
    var schema: JSONObject { get }
    var typeName: String { get }
    /// The keys of the section that is this key's value, or the element of its list.
    var sections: [any AnyKey]? { get }
    func read(_ value: JSON, _ path: String, _ reader: ConfigReader)
}

/// Written while its config is read, by the one thread that reads it; constant from then on.
private final class Box<Value: Sendable>: @unchecked Sendable {
    var value: Value
    init(_ value: Value) { self.value = value }
}
