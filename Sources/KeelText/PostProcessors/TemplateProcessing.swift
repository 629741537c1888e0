import KeelCore

/// Puts special tokens around one text or a pair, as a template lists them.
struct TemplateProcessing: PostProcessor {
    private enum Step: Sendable {
        case text(index: Int, type: Int32)
        case special(ids: [Int32], type: Int32)
    }

    private let single: [Step]
    private let pair: [Step]

    init(_ part: Part) throws {
        var specials: [String: [Int32]] = [:]
        for (name, value) in part["special_tokens"].json.object ?? JSONObject() {
            let entry = Part(value, file: part.file, path: "\(part.path).special_tokens.\(name)")
            specials[name] = try entry["ids"].list().map { try $0.id() }
        }
        single = try part["single"].list().map { try TemplateProcessing.step($0, specials) }
        pair = try part["pair"].list().map { try TemplateProcessing.step($0, specials) }
    }

    private static func step(_ part: Part, _ specials: [String: [Int32]]) throws -> Step {
        if part.json["Sequence"] != nil {
            let body = part["Sequence"]
            let name = try body["id"].text()
            guard let index = ["A": 0, "B": 1][name] else {
                throw body["id"].error("a template knows the texts A and B, found \"\(name)\"")
            }
            return .text(index: index, type: try type(body))
        }
        let body = part["SpecialToken"]
        let name = try body["id"].text()
        guard let ids = specials[name] else {
            throw body["id"].error(
                "the special token \"\(name)\" is not among the template's special_tokens")
        }
        return .special(ids: ids, type: try type(body))
    }

    private static func type(_ part: Part) throws -> Int32 {
        Int32(try part["type_id"].integer(0...Int(Int32.max)))
    }

    func process(_ parts: [Encoding], addSpecial: Bool, tokens: (Int32) -> [UInt8]) -> [Encoding] {
        let template = parts.count == 1 ? single : parts.count == 2 ? pair : []
        guard !template.isEmpty else { return parts }
        return template.compactMap { step in
            switch step {
            case .text(let index, let type):
                guard parts.indices.contains(index) else { return nil }
                var part = parts[index]
                part.typeIDs = Array(repeating: type, count: part.ids.count)
                return part
            case .special(let ids, let type):
                guard addSpecial else { return nil }
                let offsets =
                    parts.contains { !$0.offsets.isEmpty || $0.ids.isEmpty }
                    ? ids.map { _ in 0..<0 } : []
                return Encoding(ids: ids, offsets: offsets, typeIDs: ids.map { _ in type })
            }
        }
    }
}
