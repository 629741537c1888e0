import KeelCore

/// One object of tokenizer.json with its place in the file, read with errors that name both.
package struct Part: Sendable {
    package let json: JSON
    package let file: String
    package let path: String

    package init(_ json: JSON, file: String, path: String) {
        self.json = json
        self.file = file
        self.path = path
    }

    /// `file, path`, as the "at" line of an error shows it.
    package var place: String { path.isEmpty ? file : "\(file), \(path)" }

    package func error(_ what: String, fix: String? = nil) -> KeelError {
        KeelError("tokenizer", what, at: place, fix: fix ?? Part.fix, code: .badData)
    }

    private static let fix = "take tokenizer.json from the model's own repository again"

    /// The value of a key; absent keys give JSON null.
    package subscript(key: String) -> Part {
        Part(json[key] ?? .null, file: file, path: path.isEmpty ? key : "\(path).\(key)")
    }

    /// The parts of a list.
    package func list() throws -> [Part] {
        guard let array = json.array else { throw wrong("a list") }
        return array.enumerated().map { Part($1, file: file, path: "\(path)[\($0)]") }
    }

    package func text() throws -> String {
        guard let text = json.string else { throw wrong("a string") }
        return text
    }

    package func bytes() throws -> [UInt8] { Array(try text().utf8) }

    package func optionalText() throws -> String? { json.isNull ? nil : try text() }

    /// A flag; `missing` when the key is absent or null.
    package func flag(_ missing: Bool) throws -> Bool {
        if json.isNull { return missing }
        guard let value = json.bool else { throw wrong("true or false") }
        return value
    }

    /// An integer from `range`.
    package func integer(_ range: ClosedRange<Int>) throws -> Int {
        guard let value = json.int else { throw wrong("an integer") }
        guard range.contains(value) else {
            throw error("\(value) is out of range (\(range.lowerBound) to \(range.upperBound))")
        }
        return value
    }

    /// A token id: not negative, and small enough for a table of all ids.
    package func id() throws -> Int32 { Int32(try integer(0...Vocabulary.largestID)) }

    private func wrong(_ wanted: String) -> KeelError {
        json.isNull
            ? error("\(path.isEmpty ? "the file" : path) is missing; \(wanted) is needed")
            : error("\(wanted) is needed here, found \(json.kind)")
    }
}

/// The types one kind of component may have: name in tokenizer.json to reader.
package struct Registry<Component>: Sendable {
    package typealias Reader = @Sendable (Part) throws -> Component

    /// What the kind is called in messages.
    let kind: String
    let readers: [String: Reader]

    /// The component that a part describes; nil for null.
    func optional(_ part: Part) throws -> Component? {
        part.json.isNull ? nil : try make(part)
    }

    /// - Throws: `KeelError` (badData) that names an unknown type and lists the known ones.
    func make(_ part: Part, type given: String? = nil) throws -> Component {
        guard part.json.object != nil else {
            throw part.error("a \(kind) must be an object, found \(part.json.kind)")
        }
        let type = try given ?? part["type"].text()
        guard let reader = readers[type] else {
            let known = readers.keys.sorted()
            let near = nearest(type, among: known).map { "; did you mean \"\($0)\"?" } ?? ""
            throw part.error(
                "the \(kind) type \"\(type)\" is not known\(near)",
                fix: "use a tokenizer whose \(kind) is one of: \(known.joined(separator: ", "))")
        }
        return try reader(part)
    }
}
