import KeelCore

/// A type that a config key can have.
package protocol ConfigValue: Sendable {
    /// The value that JSON describes; nil after telling the reader what is wrong with it.
    static func read(
        _ value: JSON, _ spec: KeySpec, _ path: String, _ reader: ConfigReader
    ) -> Self?
    /// The value as `config show` prints it.
    var json: JSON { get }
    /// Its JSON Schema, without title, description and default.
    static func schema(_ spec: KeySpec) -> JSONObject
    /// The type in words, for the page.
    static func typeName(_ spec: KeySpec) -> String
    /// The keys of a section type.
    static var sectionKeys: [any AnyKey]? { get }
}

extension ConfigValue {
    package static var sectionKeys: [any AnyKey]? { nil }
}

/// A JSON object with declared keys: a struct whose stored properties are `@Key`s.
package protocol ConfigSection: ConfigValue {
    init()
}

extension ConfigSection {
    /// The keys in the order of their declaration.
    var keys: [any AnyKey] {
        Mirror(reflecting: self).children.compactMap { $0.value as? any AnyKey }
    }

    package static var sectionKeys: [any AnyKey]? { Self().keys }

    package static func read(
        _ value: JSON, _ spec: KeySpec, _ path: String, _ reader: ConfigReader
    ) -> Self? {
        guard let object = value.object else {
            reader.wrongType(value, "an object", path)
            return nil
        }
        let section = Self()
        reader.fill(section.keys, from: object, at: path)
        return section
    }

    package var json: JSON {
        .object(JSONObject(pairs: keys.map { ($0.spec.name, $0.json) }))
    }

    package static func schema(_ spec: KeySpec) -> JSONObject { ConfigSchema.object(Self().keys) }

    package static func typeName(_ spec: KeySpec) -> String { "object" }
}

extension Bool: ConfigValue {
    package static func read(
        _ value: JSON, _ spec: KeySpec, _ path: String, _ reader: ConfigReader
    ) -> Bool? {
        if let bool = value.bool { return bool }
        reader.wrongType(value, "true or false", path)
        return nil
    }

    package var json: JSON { .bool(self) }
    package static func schema(_ spec: KeySpec) -> JSONObject { ["type": "boolean"] }
    package static func typeName(_ spec: KeySpec) -> String { "true or false" }
}

extension Int: ConfigValue {
    package static func read(
        _ value: JSON, _ spec: KeySpec, _ path: String, _ reader: ConfigReader
    ) -> Int? {
        guard let int = value.int else {
            reader.wrongType(value, typeName(spec), path)
            return nil
        }
        return reader.inRange(Double(int), spec, path) ? int : nil
    }

    package var json: JSON { JSON(self) }
    package static func schema(_ spec: KeySpec) -> JSONObject {
        spec.bounds.schema(type: "integer")
    }
    package static func typeName(_ spec: KeySpec) -> String { spec.bounds.named("an integer") }
}

extension Double: ConfigValue {
    package static func read(
        _ value: JSON, _ spec: KeySpec, _ path: String, _ reader: ConfigReader
    ) -> Double? {
        guard let double = value.double else {
            reader.wrongType(value, typeName(spec), path)
            return nil
        }
        return reader.inRange(double, spec, path) ? double : nil
    }

    package var json: JSON { .double(self) }
    package static func schema(_ spec: KeySpec) -> JSONObject { spec.bounds.schema(type: "number") }
    package static func typeName(_ spec: KeySpec) -> String { spec.bounds.named("a number") }
}

extension String: ConfigValue {
    package static func read(
        _ value: JSON, _ spec: KeySpec, _ path: String, _ reader: ConfigReader
    ) -> String? {
        guard let text = value.string else {
            reader.wrongType(value, typeName(spec), path)
            return nil
        }
        guard let kind = spec.path else {
            if !text.isEmpty || !spec.isRequired { return text }
            reader.report(
                "\(reader.shown(path)) is empty", at: path, fix: "give it \(typeName(spec))")
            return nil
        }
        return reader.resolve(text, kind, path)
    }

    package var json: JSON { .string(self) }
    package static func schema(_ spec: KeySpec) -> JSONObject { ["type": "string"] }

    package static func typeName(_ spec: KeySpec) -> String {
        switch spec.path {
        case nil: "a string"
        case .file: "the path of a file"
        case .folder: "the path of a folder"
        case .output: "a path"
        case .plugin: "a plugin's name or path"
        case .library: "the name or path of a shared library"
        }
    }
}

extension Optional: ConfigValue where Wrapped: ConfigValue {
    package static func read(
        _ value: JSON, _ spec: KeySpec, _ path: String, _ reader: ConfigReader
    ) -> Wrapped?? {
        if value.isNull { return .some(nil) }
        return Wrapped.read(value, spec, path, reader).map { .some($0) }
    }

    package var json: JSON { map(\.json) ?? .null }

    package static func schema(_ spec: KeySpec) -> JSONObject {
        ["anyOf": [.object(Wrapped.schema(spec)), ["type": "null"]]]
    }

    package static func typeName(_ spec: KeySpec) -> String { Wrapped.typeName(spec) + ", or null" }
    package static var sectionKeys: [any AnyKey]? { Wrapped.sectionKeys }
}

extension Array: ConfigValue where Element: ConfigValue {
    package static func read(
        _ value: JSON, _ spec: KeySpec, _ path: String, _ reader: ConfigReader
    ) -> [Element]? {
        guard let items = value.array else {
            reader.wrongType(value, typeName(spec), path)
            return nil
        }
        let found = items.enumerated().compactMap {
            Element.read($1, spec, "\(path).\($0)", reader)
        }
        return found.count == items.count ? found : nil
    }

    package var json: JSON { .array(map(\.json)) }

    package static func schema(_ spec: KeySpec) -> JSONObject {
        ["type": "array", "items": .object(Element.schema(spec))]
    }

    package static func typeName(_ spec: KeySpec) -> String {
        Element.sectionKeys == nil ? "a list, each \(Element.typeName(spec))" : "a list of objects"
    }

    package static var sectionKeys: [any AnyKey]? { Element.sectionKeys }
}

/// Free-form objects: a plugin's own parameters, judged by the plugin's schema.
extension JSONObject: ConfigValue {
    package static func read(
        _ value: JSON, _ spec: KeySpec, _ path: String, _ reader: ConfigReader
    ) -> JSONObject? {
        if let object = value.object { return object }
        reader.wrongType(value, "an object", path)
        return nil
    }

    package var json: JSON { .object(self) }
    package static func schema(_ spec: KeySpec) -> JSONObject { ["type": "object"] }
    package static func typeName(_ spec: KeySpec) -> String { "an object" }
}

/// A closed list of words.
package protocol ConfigChoice: ConfigValue, CaseIterable, RawRepresentable
where RawValue == String {}

extension ConfigChoice {
    static var words: [String] { allCases.map(\.rawValue) }

    package static func read(
        _ value: JSON, _ spec: KeySpec, _ path: String, _ reader: ConfigReader
    ) -> Self? {
        guard let text = value.string else {
            reader.wrongType(value, typeName(spec), path)
            return nil
        }
        if let choice = Self(rawValue: text) { return choice }
        let near = nearest(text, among: words)
        reader.report(
            "\(reader.shown(path)) is \"\(text)\"; it takes \(typeName(spec))", at: path,
            fix: near.map { "did you mean \"\($0)\"?" } ?? "use one of these words")
        return nil
    }

    package var json: JSON { .string(rawValue) }
    package static func schema(_ spec: KeySpec) -> JSONObject {
        ["enum": .array(words.map { .string($0) })]
    }

    package static func typeName(_ spec: KeySpec) -> String {
        words.map { "\"\($0)\"" }.joined(separator: " or ")
    }
}

extension Bounds {
    fileprivate func schema(type: String) -> JSONObject {
        var schema: JSONObject = ["type": .string(type)]
        func number(_ x: Double) -> JSON { Int64(exactly: x).map { .int($0) } ?? .double(x) }
        if let low { schema[excludesLow ? "exclusiveMinimum" : "minimum"] = number(low) }
        if let high { schema["maximum"] = number(high) }
        return schema
    }

    fileprivate func named(_ type: String) -> String { text.map { "\(type) \($0)" } ?? type }
}
