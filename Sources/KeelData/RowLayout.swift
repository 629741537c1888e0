import KeelCore

/// How the fields of a data file's rows are laid out.
package enum RowLayout: String, Sendable {
    /// Keel's own fields, else what the fields of the row announce.
    case auto
    /// Keel's own fields, whatever else there is.
    case keel
    /// `conversations`: `{from, value}`, human and gpt.
    case sharegpt
    /// `instruction`, `input`, `output`, `system`, `history`.
    case alpaca

    /// Fields that make a row one of Keel's own.
    private static let own = [
        "prompt", "text", "messages", "chosen", "rejected", "completion", "completions",
    ]
    private static let roles = [
        "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
        "chatgpt": "assistant", "bing": "assistant", "bard": "assistant", "model": "assistant",
        "system": "system", "tool": "tool", "observation": "tool", "function_call": "assistant",
        "function_response": "tool",
    ]

    /// The row under the names that Keel uses.
    ///
    /// - Parameter hasTemplate: messages can be rendered; else alpaca's rows are the plain texts of its authors.
    /// - Throws: `KeelError` (badData) for a row that is not of this layout.
    func normalised(_ row: Row, hasTemplate: Bool) throws -> Row {
        switch self {
        case .keel: return row
        case .sharegpt: return try RowLayout.sharegpt(row)
        case .alpaca: return try RowLayout.alpaca(row, hasTemplate)
        case .auto:
            if row.has("conversations"), !row.has("messages") { return try RowLayout.sharegpt(row) }
            guard !RowLayout.own.contains(where: row.has) else { return row }
            return row.has("instruction") && row.has("output")
                ? try RowLayout.alpaca(row, hasTemplate) : row
        }
    }

    // MARK: ShareGPT

    private static func sharegpt(_ row: Row) throws -> Row {
        guard let list = row.json[row.name("conversations")]?.array, !list.isEmpty else {
            throw row.missing("conversations")
        }
        var messages = try list.enumerated().map { try message($1, "conversations", $0, row) }
        if let system = row.json["system"]?.string, !system.isEmpty {
            messages.insert(["role": "system", "content": .string(system)], at: 0)
        }
        var object = row.json
        object[row.name("conversations")] = nil
        let sides = ["chosen", "rejected"].filter(row.has)
        if sides.isEmpty {
            object["messages"] = .array(messages)
        } else {
            object["prompt"] = .array(messages)
            for side in sides {
                guard let value = row.json[row.name(side)], value["from"] != nil else { continue }
                object[row.name(side)] = .array([try message(value, side, nil, row)])
            }
        }
        return Row(json: object, columns: row.columns, place: row.place)
    }

    private static func message(
        _ value: JSON, _ field: String, _ index: Int?, _ row: Row
    ) throws -> JSON {
        let shown = "\"\(row.name(field))\"" + (index.map { "[\($0)]" } ?? "")
        let speaker = value["from"]?.string ?? value["role"]?.string
        guard let speaker, let text = value["value"]?.string ?? value["content"]?.string else {
            throw row.error(
                "\(shown) must be {\"from\": \"human\" or \"gpt\", \"value\": TEXT}",
                fix: "give every message a speaker and a text")
        }
        guard let role = roles[speaker.lowercased()] else {
            throw row.error(
                "\(shown) comes from \"\(speaker)\"",
                fix: "known speakers: \(roles.keys.sorted().joined(separator: ", "))")
        }
        return ["role": .string(role), "content": .string(text)]
    }

    // MARK: Alpaca

    private static func alpaca(_ row: Row, _ hasTemplate: Bool) throws -> Row {
        let isBare = (row.json["history"]?.array ?? []).isEmpty
        guard hasTemplate || !isBare else { return try plainAlpaca(row) }
        let messages = try alpacaMessages(row)
        var object = row.json
        object["prompt"] = .array(messages)
        return Row(json: try answered(object, row), columns: row.columns, place: row.place)
    }

    /// The prompts of Stanford Alpaca, for models without a chat template.
    private static func plainAlpaca(_ row: Row) throws -> Row {
        let input = row.json[row.name("input")]?.string ?? ""
        let task = row.json["system"]?.string.flatMap { $0.isEmpty ? nil : $0 }
        let head =
            task
            ?? "Below is an instruction that describes a task"
            + (input.isEmpty ? ". " : ", paired with an input that provides further context. ")
            + "Write a response that appropriately completes the request."
        var object = row.json
        object["prompt"] = .string(
            "\(head)\n\n### Instruction:\n\(try row.text("instruction"))\n\n"
                + (input.isEmpty ? "" : "### Input:\n\(input)\n\n") + "### Response:\n")
        return Row(json: try answered(object, row), columns: row.columns, place: row.place)
    }

    private static func answered(_ object: JSONObject, _ row: Row) throws -> JSONObject {
        var object = object
        if row.has("output") {
            object["completion"] = .string(try row.text("output"))
        } else if !row.has("chosen") {
            throw row.missing("output")
        }
        return object
    }

    private static func alpacaMessages(_ row: Row) throws -> [JSON] {
        var messages: [JSON] = []
        if let system = row.json["system"]?.string, !system.isEmpty {
            messages.append(["role": "system", "content": .string(system)])
        }
        for (index, turn) in (row.json["history"]?.array ?? []).enumerated() {
            guard let words = turn.array, words.count == 2, let asked = words[0].string,
                let answered = words[1].string
            else {
                throw row.error(
                    "\"history\"[\(index)] must be [QUESTION, ANSWER]",
                    fix: "write earlier turns as pairs of texts")
            }
            messages.append(["role": "user", "content": .string(asked)])
            messages.append(["role": "assistant", "content": .string(answered)])
        }
        var question = try row.text("instruction")
        if let input = row.json[row.name("input")]?.string, !input.isEmpty {
            question += "\n" + input
        }
        messages.append(["role": "user", "content": .string(question)])
        return messages
    }
}
