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
    static let fields = [
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

    // MARK: Messages

    /// Whether a field is a list: of messages, where a text could stand.
    func isList(_ field: String) -> Bool { json[name(field)]?.array != nil }

    /// What a chat template may ask for beside the messages.
    var variables: JSONObject {
        var variables = JSONObject()
        for (key, value) in json["chat_template_kwargs"]?.object ?? JSONObject() {
            variables[key] = value
        }
        for key in ["tools", "documents"] {
            guard let value = json[key], !value.isNull else { continue }
            // Some data sets store the schemas as a text.
            variables[key] = value.string.flatMap { try? JSON.parse($0) } ?? value
        }
        return variables
    }

    /// The messages of a field; a plain text is one message.
    ///
    /// - Parameter role: whose words a plain text is.
    func messages(_ field: String, role: String = "user") throws -> [JSON] {
        let name = name(field)
        guard let value = json[name], !value.isNull else { throw missing(field) }
        return try messages(value, "\"\(name)\"", role: role)
    }

    /// - Parameter what: how errors call the value.
    func messages(_ value: JSON, _ what: String, role: String) throws -> [JSON] {
        if let text = value.string {
            return [["role": .string(role), "content": .string(text)]]
        }
        guard let list = value.array, !list.isEmpty else {
            throw error(
                "\(what) must be a text or a list of messages, found "
                    + (value.array == nil ? value.kind : "an empty list"),
                fix: "write [{\"role\": \"user\", \"content\": \"...\"}]")
        }
        for (index, message) in list.enumerated() {
            guard let object = message.object, let role = object["role"]?.string else {
                throw error(
                    "\(what)[\(index)] has no \"role\"",
                    fix: "write {\"role\": \"user\", \"content\": \"...\"}")
            }
            let content = object["content"] ?? .null
            let isCall = role == "assistant" && object["tool_calls"] != nil
            guard content.string != nil || content.array != nil || isCall && content.isNull else {
                throw error(
                    "\(what)[\(index)] must have a text as its \"content\", found \(content.kind)",
                    fix: "write {\"role\": \"\(role)\", \"content\": \"...\"}")
            }
            for part in content.array ?? [] where part["text"]?.string == nil {
                throw error(
                    "\(what)[\(index)] has a part that is no text",
                    fix: "Keel trains on texts: leave images and sounds out")
            }
        }
        return list
    }

    /// Runs what may fail for reasons of the row; its errors name the row's line.
    func located<T>(_ body: () throws -> T) throws -> T {
        do {
            return try body()
        } catch let error as KeelError {
            throw KeelError(
                "data", error.what, at: error.at == nil ? place : "\(place): \(error.at ?? "")",
                fix: error.fix, code: .badData)
        }
    }

    // MARK: Lists

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
