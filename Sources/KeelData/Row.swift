import KeelCore

/// One line of a data file, read under the names that Keel uses.
struct Row {
    let json: JSONObject
    /// Keel's field name to the name in the file, where the two differ.
    let columns: [String: String]
    /// `file:line`.
    let place: String

    /// The name a field has in the file.
    func name(_ field: String) -> String { columns[field] ?? field }

    func has(_ field: String) -> Bool { !(json[name(field)]?.isNull ?? true) }

    /// The text of a field.
    ///
    /// - Throws: `KeelError` (badData) when it is missing, is a list of messages, or is no string.
    func text(_ field: String) throws -> String {
        let name = name(field)
        guard let value = json[name], !value.isNull else { throw missing(field) }
        if let text = value.string { return text }
        if value.array?.first?.object != nil {
            throw error(
                "\"\(name)\" is a list of messages; this build reads plain text only",
                fix: "render the messages with the model's chat template and store the text")
        }
        throw error(
            "\"\(name)\" must be a string, found \(value.kind)",
            fix: "write the text of \"\(name)\" as a string")
    }

    /// The error for a field that is not there.
    func missing(_ field: String) -> KeelError {
        let name = name(field)
        let found =
            json.keys.isEmpty ? "no fields" : json.keys.map { "\"\($0)\"" }.joined(separator: ", ")
        let taken = Set(Row.fields.map(self.name)).subtracting([name])
        let fix: String
        if json[name]?.isNull ?? false {
            fix = "give \"\(name)\" a text, or remove the row"
        } else if let near = nearest(name, among: json.keys.filter { !taken.contains($0) }) {
            fix =
                "rename \"\(near)\" to \"\(name)\", or set \"columns\": {\"\(field)\": \"\(near)\"} in \"data\""
        } else {
            fix =
                "add \"\(name)\", or name the field that holds it: \"columns\": {\"\(field)\": \"...\"} in \"data\""
        }
        return error("the row has no \"\(name)\"; found \(found)", fix: fix)
    }

    /// Fields that mean something to Keel: none of them is a misspelling of another.
    private static let fields = [
        "prompt", "completion", "chosen", "rejected", "text", "completions", "scores", "label",
        "reward", "rewards",
    ]

    // MARK: Numbers and marks

    /// A number; nil where there is none.
    ///
    /// - Throws: `KeelError` (badData) for anything else, and for numbers that are not finite.
    func number(_ field: String) throws -> Double? {
        let name = name(field)
        guard let value = json[name], !value.isNull else { return nil }
        return try number(value, "\"\(name)\"")
    }

    private func number(_ value: JSON, _ what: String) throws -> Double {
        guard let number = value.double, number.isFinite else {
            throw error(
                "\(what) must be a number, found \(value.kind)",
                fix: "write a finite number, or leave the row out")
        }
        return number
    }

    /// A list of numbers; nil where there is none.
    func numbers(_ field: String) throws -> [Double]? {
        let name = name(field)
        guard let value = json[name], !value.isNull else { return nil }
        guard let list = value.array else {
            throw error(
                "\"\(name)\" must be a list of numbers, found \(value.kind)",
                fix: "write one number for each completion")
        }
        return try list.enumerated().map { try number($1, "\"\(name)\"[\($0)]") }
    }

    /// `{NAME: number}`; null stands for no opinion.
    func namedRewards() throws -> [String: Double]? {
        let name = name("rewards")
        guard let value = json[name], !value.isNull else { return nil }
        guard let object = value.object, !object.keys.isEmpty else {
            throw error(
                "\"\(name)\" must be an object of numbers, found \(value.kind)",
                fix: "write {\"NAME\": number}, one for each reward")
        }
        var rewards: [String: Double] = [:]
        for (key, value) in object {
            rewards[key] = value.isNull ? .nan : try number(value, "\"\(name)\".\(key)")
        }
        return rewards
    }

    /// Whether the row's label can be one: true, false, 0 or 1.
    var hasLabel: Bool { (try? label()) != nil }

    /// Whether the completion is wanted.
    ///
    /// - Throws: `KeelError` (badData) when it is missing or neither true nor false.
    func label() throws -> Bool {
        let name = name("label")
        guard let value = json[name], !value.isNull else { throw missing("label") }
        if let flag = value.bool { return flag }
        if let number = value.double, number == 0 || number == 1 { return number == 1 }
        throw error(
            "\"\(name)\" must be true or false, found \(value.kind)",
            fix: "write true for a completion that is wanted, false for one that is not")
    }

    /// A list of texts, none of them missing.
    func texts(_ field: String) throws -> [String] {
        let name = name(field)
        guard let value = json[name], !value.isNull else { throw missing(field) }
        guard let list = value.array else {
            throw error(
                "\"\(name)\" must be a list, found \(value.kind)",
                fix: "write the completions as a list of strings")
        }
        return try list.enumerated().map { index, value in
            guard let text = value.string else {
                throw error(
                    "\"\(name)\"[\(index)] must be a string, found \(value.kind)",
                    fix: "write the completions as a list of strings")
            }
            return text
        }
    }

    func error(_ what: String, fix: String? = nil) -> KeelError {
        KeelError("data", what, at: place, fix: fix, code: .badData)
    }
}
