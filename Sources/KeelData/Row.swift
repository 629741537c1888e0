import KeelCore

/// What a row of a data file holds.
package enum RowKind: String, Sendable, CaseIterable {
    case text
    case prompt
    case promptCompletion = "prompt_completion"
    case preference

    /// The fields a row of this kind must have, or may have.
    var fields: (needed: [String], optional: [String]) {
        switch self {
        case .text: (["text"], [])
        case .prompt: (["prompt"], [])
        case .promptCompletion: (["prompt", "completion"], [])
        case .preference: (["chosen", "rejected"], ["prompt"])
        }
    }

    /// The kind that a row's fields announce: a misspelt or missing partner is the row's error.
    init?(fieldsOf row: Row) {
        if row.has("chosen") || row.has("rejected") {
            self = .preference
        } else if row.has("completion") {
            self = .promptCompletion
        } else if row.has("text") {
            self = .text
        } else if row.has("prompt") {
            self = .prompt
        } else {
            return nil
        }
    }
}

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
        let taken = Set(["prompt", "completion", "chosen", "rejected", "text"].map(self.name))
            .subtracting([name])
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

    func error(_ what: String, fix: String? = nil) -> KeelError {
        KeelError("data", what, at: place, fix: fix, code: .badData)
    }
}

/// The texts of a row: what is given, and what may be trained.
package struct RowTexts: Sendable, Equatable {
    package var prompt: String?
    package var completions: [String]

    package init(prompt: String?, completions: [String]) {
        self.prompt = prompt
        self.completions = completions
    }

    /// Parts two dialogues that begin alike: what they share is the prompt.
    ///
    /// As TRL does: a space right before the first difference belongs to the answers.
    static func implicitPrompt(chosen: String, rejected: String) -> RowTexts {
        let a = Array(chosen.unicodeScalars)
        let b = Array(rejected.unicodeScalars)
        let limit = min(a.count, b.count)
        var common = 0
        while common < limit, a[common] == b[common] { common += 1 }
        // When one is the beginning of the other, the last shared character goes to the answers, so
        // that none is empty.
        if common == limit {
            common = max(0, limit - 1)
        } else if common > 0, a[common - 1] == " " {
            common -= 1
        }
        func text(_ part: ArraySlice<Unicode.Scalar>) -> String {
            var text = String.UnicodeScalarView()
            text.append(contentsOf: part)
            return String(text)
        }
        return RowTexts(
            prompt: text(a[..<common]), completions: [text(a[common...]), text(b[common...])])
    }
}
