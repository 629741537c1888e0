import KeelCore

/// One declared parameter of a component.
package struct Parameter: Sendable, Equatable {
    package enum Kind: String, Sendable {
        case number, integer, bool, string
        case choice = "enum"
        case numbers = "list"
        case json

        /// What a config may write there.
        var expected: String {
            switch self {
            case .number: "a number"
            case .integer: "an integer"
            case .bool: "true or false"
            case .string: "a string"
            case .choice: "one of its choices"
            case .numbers: "a list of numbers"
            case .json: "a JSON value"
            }
        }
    }

    package var name: String
    package var kind: Kind
    package var fallback: JSON
    /// Both ends allowed; nil = no range.
    package var range: ClosedRange<Double>?
    package var choices: [String]
    package var help: String

    /// What is allowed, as a range or as choices; nil when everything is.
    package var allowed: String? {
        if kind == .choice { return choices.joined(separator: " | ") }
        guard let range else { return nil }
        let (low, high) = (Parameter.text(range.lowerBound), Parameter.text(range.upperBound))
        if range.upperBound == .infinity { return ">= \(low)" }
        if range.lowerBound == -.infinity { return "<= \(high)" }
        return "\(low) ... \(high)"
    }

    /// 3 for 3.0: the way people write numbers.
    static func text(_ value: Double) -> String {
        if let whole = Int64(exactly: value), abs(value) < 1e15 { return String(whole) }
        return value.description
    }

    /// The value as the plugin will see it.
    ///
    /// - Throws: `KeelError` when the type, range or choice is wrong.
    func checked(_ value: JSON, owner: String, place: String?) throws -> JSON {
        func refuse(_ what: String, fix: String? = nil) -> KeelError {
            KeelError("plugin", "\(owner): parameter \"\(name)\" \(what)", at: place, fix: fix)
        }
        func inRange(_ number: Double) throws {
            guard let range, !range.contains(number) else { return }
            throw refuse(
                "is \(Parameter.text(number)), which is out of range",
                fix: "allowed: \(allowed ?? ""), default \(fallback.text())")
        }
        let wrongType = refuse(
            "must be \(kind.expected), not \(value.kind)", fix: "default: \(fallback.text())")
        switch kind {
        case .number:
            guard let number = value.number else { throw wrongType }
            try inRange(number)
            return .double(number)
        case .integer:
            guard let number = value.int else { throw wrongType }
            try inRange(Double(number))
            return JSON(number)
        case .bool:
            guard value.bool != nil else { throw wrongType }
            return value
        case .string:
            guard let text = value.string else { throw wrongType }
            guard !text.utf8.contains(0) else { throw refuse("holds a NUL byte") }
            return value
        case .choice:
            guard let text = value.string else { throw wrongType }
            guard choices.contains(text) else {
                let near = nearest(text, among: choices).map { "did you mean \"\($0)\"? " } ?? ""
                throw refuse(
                    "is \"\(text)\", which is no choice",
                    fix: near + "choices: \(choices.joined(separator: ", "))")
            }
            return value
        case .numbers:
            guard let list = value.array else { throw wrongType }
            return .array(
                try list.map { item in
                    guard let number = item.number else { throw wrongType }
                    try inRange(number)
                    return .double(number)
                })
        case .json:
            return value
        }
    }

    package var json: JSON {
        var object: JSONObject = [
            "name": .string(name), "type": .string(kind.rawValue), "default": fallback,
            "help": .string(help),
        ]
        if let range {
            object["min"] = .double(range.lowerBound)
            object["max"] = .double(range.upperBound)
        }
        if !choices.isEmpty { object["choices"] = .strings(choices) }
        return .object(object)
    }

    init(
        name: String, kind: Kind, fallback: JSON, range: ClosedRange<Double>?, choices: [String],
        help: String
    ) {
        self.name = name
        self.kind = kind
        self.fallback = fallback
        self.range = range
        self.choices = choices
        self.help = help
    }

    init?(json: JSON) {
        guard let name = json["name"]?.string, let kind = json["type"]?.string.flatMap(Kind.init),
            var fallback = json["default"], let help = json["help"]?.string
        else { return nil }
        if kind == .number, let number = fallback.number { fallback = .double(number) }
        var range: ClosedRange<Double>?
        if let low = json["min"]?.number, let high = json["max"]?.number, low <= high {
            range = low...high
        }
        self.init(
            name: name, kind: kind, fallback: fallback, range: range,
            choices: json["choices"].strings, help: help)
    }
}

extension JSON {
    /// A number; also "inf" and "-inf", which JSON cannot write otherwise.
    package var number: Double? {
        switch self {
        case .string("inf"): .infinity
        case .string("-inf"): -.infinity
        default: double
        }
    }
}

/// The parameters of one instance: checked, complete, in declared order.
package struct ParameterValues: Sendable, Equatable {
    package let values: JSONObject

    package subscript(name: String) -> JSON? { values[name] }
}

extension Component {
    /// Checks parameters and fills in the defaults.
    ///
    /// - Parameter place: where they stand, for messages: `config.json:8`, `--params`.
    /// - Throws: `KeelError`, or `KeelErrors` when several are wrong.
    package func validate(params: JSONObject, place: String? = nil) throws -> ParameterValues {
        try validate(params: params) { _ in place }
    }

    /// The same with the place of each parameter, as a config file knows it.
    package func validate(
        params: JSONObject, placeOf: (String) -> String?
    ) throws -> ParameterValues {
        var errors: [KeelError] = []
        let names = parameters.map(\.name)
        for key in params.keys where !names.contains(key) {
            let near = nearest(key, among: names).map { "did you mean \"\($0)\"? " } ?? ""
            let known = names.isEmpty ? "it takes none" : "known: \(names.joined(separator: ", "))"
            errors.append(
                KeelError(
                    "plugin", "\(title) has no parameter \"\(key)\"", at: placeOf(key),
                    fix: near + known))
        }
        var values = JSONObject()
        for parameter in parameters {
            do {
                let given = params[parameter.name]
                values.append(
                    parameter.name,
                    try given.map {
                        try parameter.checked($0, owner: title, place: placeOf(parameter.name))
                    } ?? parameter.fallback)
            } catch let error as KeelError {
                errors.append(error)
            }
        }
        try KeelErrors(errors).throwIfAny()
        return ParameterValues(values: values)
    }
}
