import KeelCore

/// A data file whose every row has been checked; texts are read from the mapped file when asked
/// for.
package final class Dataset: Sendable {
    /// Errors reported for one file.
    package static let errorLimit = 20

    private let reader: JSONLReader
    private let columns: [String: String]
    /// The kind that the rows have in the file.
    private let found: RowKind
    /// The kind that rows are given out as.
    package let kind: RowKind
    /// What was converted, for the log.
    package let notes: [String]

    package var path: String { reader.path }
    package var count: Int { reader.count }
    /// SHA-256 of the file.
    package var contentHash: String { reader.contentHash }

    /// A text that differs when the same file would give other texts, for cache keys.
    var conversionKey: String {
        let renames = columns.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        return
            "\(found.rawValue)>\(kind.rawValue) \(JSON.array(renames.map { .string($0) }).text())"
    }

    private init(
        _ reader: JSONLReader, columns: [String: String], found: RowKind, kind: RowKind,
        notes: [String]
    ) {
        self.reader = reader
        self.columns = columns
        self.found = found
        self.kind = kind
        self.notes = notes
    }

    /// Reads and checks a JSONL file.
    ///
    /// Rows of another kind than wanted are converted when that loses nothing that is trained:
    /// pairs become prompts with the chosen answer, rows with an answer become prompts. The notes
    /// say so.
    ///
    /// - Parameters:
    ///   - wanted: `.text` also takes prompts with an answer, and keeps them as such.
    ///   - columns: Keel's field name to the field's name in the file.
    /// - Throws: `KeelError` or `KeelErrors` (badData; noInput for a missing file): up to
    ///   `errorLimit` bad rows, each with file and line.
    package static func load(
        path: String, wanted: RowKind, columns: [String: String] = [:]
    ) throws -> Dataset {
        let reader = try JSONLReader(path)
        var found: RowKind?
        var errors: [KeelError] = []
        var bad = 0
        func note(_ error: KeelError) {
            bad += 1
            if errors.count < errorLimit { errors.append(error) }
        }
        for index in 0..<reader.count {
            do {
                let row = try row(index, of: reader, columns)
                let kind = try found ?? self.kind(of: row, wanted: wanted)
                found = kind
                _ = try texts(row, kind)
            } catch let error as KeelError {
                note(error)
                // Without a kind every row would fail for the reason of the first.
                if found == nil { break }
            }
        }
        if bad > errors.count, let last = errors.popLast() {
            errors.append(
                KeelError(
                    "data", "\(last.what) (and \(bad - errors.count - 1) more bad rows)",
                    at: last.at, fix: last.fix,
                    code: .badData))
        }
        try KeelErrors(errors).throwIfAny()
        guard let found else { preconditionFailure("\(reader.count) rows and no kind") }
        let (kind, notes) = converted(found, to: wanted)
        return Dataset(reader, columns: columns, found: found, kind: kind, notes: notes)
    }

    /// The row as it stands in the file; null when the file has changed under the run.
    package func row(_ index: Int) -> JSON { (try? reader.json(index)) ?? .null }

    /// `file:line` of a row.
    package func place(_ index: Int) -> String { reader.place(index) }

    /// The texts of a row, as `kind` has them.
    ///
    /// - Throws: `KeelError` (badData) when the file has changed under the run.
    package func texts(_ index: Int) throws -> RowTexts {
        var texts = try Dataset.texts(Dataset.row(index, of: reader, columns), found)
        if kind == .prompt {
            texts.completions = []
        } else if found == .preference, kind == .promptCompletion {
            texts.completions.removeLast()
        }
        return texts
    }

    // MARK: Reading rows

    private static func row(
        _ index: Int, of reader: JSONLReader, _ columns: [String: String]
    ) throws -> Row {
        let json = try reader.json(index)
        guard let object = json.object else {
            throw KeelError(
                "data", "a row must be an object, found \(json.kind)", at: reader.place(index),
                fix: "write one JSON object per line", code: .badData)
        }
        return Row(json: object, columns: columns, place: reader.place(index))
    }

    private static func texts(_ row: Row, _ kind: RowKind) throws -> RowTexts {
        switch kind {
        case .text: return RowTexts(prompt: nil, completions: [try row.text("text")])
        case .prompt: return RowTexts(prompt: try row.text("prompt"), completions: [])
        case .promptCompletion:
            return RowTexts(
                prompt: try row.text("prompt"), completions: [try row.text("completion")])
        case .preference:
            let (chosen, rejected) = (try row.text("chosen"), try row.text("rejected"))
            return row.has("prompt")
                ? RowTexts(prompt: try row.text("prompt"), completions: [chosen, rejected])
                : .implicitPrompt(chosen: chosen, rejected: rejected)
        }
    }

    /// The kind of the first row, if rows of that kind can serve.
    private static func kind(of row: Row, wanted: RowKind) throws -> RowKind {
        for field in ["messages", "conversations", "images"]
        where row.has(field) && RowKind(fieldsOf: row) == nil {
            throw row.error(
                "the row holds \"\(field)\"; this build reads plain text only",
                fix: "render the messages with the model's chat template and store them as \"text\""
            )
        }
        guard let kind = RowKind(fieldsOf: row) else { throw row.missing(wanted.fields.needed[0]) }
        let serving: [RowKind] =
            switch wanted {
            case .text: [.text, .promptCompletion, .preference]
            case .prompt: [.prompt, .promptCompletion, .preference]
            case .promptCompletion: [.promptCompletion, .preference]
            case .preference: [.preference]
            }
        guard serving.contains(kind) else {
            throw row.missing(
                wanted.fields.needed.first { !row.has($0) } ?? wanted.fields.needed[0])
        }
        return kind
    }

    private static func converted(_ found: RowKind, to wanted: RowKind) -> (RowKind, [String]) {
        switch (found, wanted) {
        case (.preference, .text), (.preference, .promptCompletion):
            return (
                .promptCompletion,
                ["pairs are used as prompts with the chosen answer; the rejected one is left out"]
            )
        case (.preference, .prompt), (.promptCompletion, .prompt):
            return (
                .prompt, ["only the prompts of the rows are used; answers stay visible to rewards"]
            )
        default: return (found, [])
        }
    }
}
