import KeelCore

/// A data file whose every row has been checked; texts are read from the mapped file when asked
/// for.
///
/// A row of the file may serve as several rows, or as none: `count`, and every index, are of the rows given out.
package final class Dataset: Sendable {
    /// Errors reported for one file.
    package static let errorLimit = 20

    private let reader: JSONLReader
    private let columns: [String: String]
    private let layout: RowLayout
    private let conversation: Conversation
    /// The kind that the rows have in the file.
    private let found: RowKind
    private let conversion: RowConversion
    /// What the rows say besides their texts.
    package let values: DatasetValues
    /// The row of the file, and which of the rows that it became; nil where they are the same.
    private let origins: [(row: Int32, part: Int32)]?
    /// What was converted, for the log.
    package let notes: [String]

    package var path: String { reader.path }
    package var count: Int { values.count }
    /// The kind that rows are given out as.
    package var kind: RowKind { conversion.kind }
    /// SHA-256 of the file.
    package var contentHash: String { reader.contentHash }

    /// A text that differs when the same file would give other texts, for cache keys.
    package var conversionKey: String {
        let renames = columns.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        return
            "\(found.rawValue)>\(kind.rawValue) \(JSON.array(renames.map { .string($0) }).text()) "
            + "\(layout.rawValue) \(conversation.key)"
    }

    private init(
        _ reader: JSONLReader, columns: [String: String], layout: RowLayout,
        conversation: Conversation, found: RowKind, conversion: RowConversion, contents: Contents
    ) {
        self.reader = reader
        self.columns = columns
        self.layout = layout
        self.conversation = conversation
        self.found = found
        self.conversion = conversion
        values = contents.values
        origins = contents.isPlain ? nil : contents.origins
        notes = contents.notes(conversion, rows: reader.count)
    }

    /// Reads and checks a JSONL file.
    ///
    /// Rows of another kind than wanted are converted where nothing has to be made up (`RowConversion`); the notes
    /// say so.
    ///
    /// - Parameters:
    ///   - wanted: `.text` also takes prompts with an answer, and keeps them as such.
    ///   - columns: Keel's field name to the field's name in the file.
    ///   - conversation: how messages become texts.
    /// - Throws: `KeelError` or `KeelErrors` (badData; noInput for a missing file): up to
    ///   `errorLimit` bad rows, each with file and line.
    package static func load(
        path: String, wanted: RowKind, columns: [String: String] = [:],
        layout: RowLayout = .auto, conversation: Conversation = .plain
    ) throws -> Dataset {
        let reader = try JSONLReader(path)
        var serving: (kind: RowKind, conversion: RowConversion)?
        var contents = Contents()
        let checks = conversation.checking
        var errors: [KeelError] = []
        var bad = 0
        for index in 0..<reader.count {
            do {
                let row = try row(index, of: reader, columns, layout, conversation)
                let (kind, conversion) = try serving ?? self.conversion(of: row, wanted: wanted)
                serving = (kind, conversion)
                let content = try RowContent(row, kind, checks)
                try check(content, kind, wanted, row)
                contents.append(conversion.apply(content), of: index)
            } catch let error as KeelError {
                bad += 1
                if errors.count < errorLimit { errors.append(error) }
                // Without a kind every row would fail for the reason of the first.
                if serving == nil { break }
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
        guard let (found, conversion) = serving else {
            preconditionFailure("\(reader.count) rows and no kind")
        }
        guard !contents.values.isEmpty else {
            throw KeelError(
                "data", "none of the \(reader.count) rows can be used: \(conversion.note ?? "")",
                at: path, fix: "look at the rows' labels and scores", code: .badData)
        }
        return Dataset(
            reader, columns: columns, layout: layout, conversation: conversation, found: found,
            conversion: conversion, contents: contents)
    }

    /// The row as it stands in the file; null when the file has changed under the run.
    package func row(_ index: Int) -> JSON { (try? reader.json(origin(index).row)) ?? .null }

    /// `file:line` of a row.
    package func place(_ index: Int) -> String { reader.place(origin(index).row) }

    /// The number of the file's row behind a row.
    package func fileRow(_ index: Int) -> Int { origin(index).row }

    /// The texts of a row, as `kind` has them.
    ///
    /// - Throws: `KeelError` (badData) when the file has changed under the run.
    package func texts(_ index: Int) throws -> RowTexts {
        let (row, part) = origin(index)
        let content = try RowContent(
            Dataset.row(row, of: reader, columns, layout, conversation), found, conversation)
        let parts = conversion.apply(content)
        guard part < parts.count else {
            throw KeelError(
                "data", "the row is not what it was when the run began", at: reader.place(row),
                fix: "leave the data alone while it is used", code: .badData)
        }
        return parts[part].texts
    }

    /// The prompt of a row as rewards read it, where it is messages; nil for plain texts.
    package func spokenPrompt(_ index: Int) -> String? {
        let row = try? Dataset.row(
            origin(index).row, of: reader, columns, layout, .plain)
        return row.flatMap { try? RowContent($0, found, .plain).texts.words?.prompt }
    }

    private func origin(_ index: Int) -> (row: Int, part: Int) {
        guard let origins else { return (index, 0) }
        return (Int(origins[index].row), Int(origins[index].part))
    }

    // MARK: Reading rows

    /// What all rows become.
    private struct Contents {
        var values = DatasetValues()
        var origins: [(row: Int32, part: Int32)] = []
        /// Rows of the file that gave none.
        var unused = 0
        /// Every row gave one.
        var isPlain: Bool { unused == 0 && origins.allSatisfy { $0.part == 0 } }

        mutating func append(_ parts: [RowContent], of row: Int) {
            if parts.isEmpty { unused += 1 }
            for (part, content) in parts.enumerated() {
                values.append(content.values)
                origins.append((Int32(row), Int32(part)))
            }
        }

        func notes(_ conversion: RowConversion, rows: Int) -> [String] {
            guard let note = conversion.note else { return [] }
            return [isPlain ? note : "\(note) (\(rows) rows give \(values.count))"]
        }
    }

    private static func row(
        _ index: Int, of reader: JSONLReader, _ columns: [String: String], _ layout: RowLayout,
        _ conversation: Conversation
    ) throws -> Row {
        let json = try reader.json(index)
        guard let object = json.object else {
            throw KeelError(
                "data", "a row must be an object, found \(json.kind)", at: reader.place(index),
                fix: "write one JSON object per line", code: .badData)
        }
        let row = try layout.normalised(
            Row(json: object, columns: columns, place: reader.place(index)),
            hasTemplate: conversation.rendersMessages)
        if let images = row.json["images"], !images.isNull, images.array?.isEmpty != true {
            throw row.error(
                "the row holds images", fix: "Keel trains on texts: use rows without images")
        }
        return row
    }

    /// What the wanted kind asks of a row beyond its own.
    private static func check(
        _ content: RowContent, _ kind: RowKind, _ wanted: RowKind, _ row: Row
    ) throws {
        let count = content.texts.completions.count
        guard kind == .ranked, wanted != .prompt else { return }
        let needed = wanted == .ranked || wanted == .preference ? 2 : 1
        guard count < needed else { return }
        throw row.error(
            count == 0
                ? "\"\(row.name("completions"))\" is empty"
                : "\"\(row.name("completions"))\" has one completion: nothing is ranked",
            fix:
                "give at least \(needed == 1 ? "one completion" : "two completions"), or leave the row out"
        )
    }

    /// The kind of the first row, if rows of that kind can serve.
    private static func conversion(
        of row: Row, wanted: RowKind
    ) throws -> (RowKind, RowConversion) {
        let kind = RowKind(fieldsOf: row, wanted: wanted)
        guard let kind else { throw row.missing(wanted.fields.needed[0]) }
        if let conversion = RowConversion(kind, to: wanted) { return (kind, conversion) }
        if let field = wanted.fields.needed.first(where: { !row.has($0) }),
            ![.scored, .unpaired, .ranked, .preference].contains(kind)
        {
            throw row.missing(field)
        }
        let (what, fix) = RowConversion.refusal(kind, to: wanted)
        throw row.error(what, fix: fix)
    }
}
