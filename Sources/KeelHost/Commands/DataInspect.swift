import KeelBridge
import KeelCore
import KeelData
import KeelText

/// `keel data inspect CONFIG`: what a run makes of its data, before it is run.
package struct DataInspect {
    package struct Options: Sendable {
        package var config: String
        package var overrides: [String] = []
        /// Rows shown, from the start of the file.
        package var rows = 3
        /// The held-out rows instead of those to train on.
        package var isValid = false
        /// The phase whose rows are shown; nil = the first.
        package var phase: String?

        package init(config: String) { self.config = config }
    }

    /// A row as it is trained.
    struct Shown {
        var place: String
        var row: TokenizedRow
        var values: RowValues
        var isCut: Bool
    }

    let kind: String
    let path: String
    let template: (place: String, hash: String)?
    let counts: [(String, Int)]
    let notes: [String]
    let shown: [Shown]
    /// Rows that are left out, with the reason; the first few.
    let dropped: [(place: String, reason: String)]
    /// Tokens of prompt and longest completion, of every row.
    let lengths: [Int]
    let tokens: (all: Int, trained: Int)
    /// Completions that do not end in a trained end token: cut ones, mostly.
    let open: Int
    let tokenizer: Tokenizer

    /// Reads and tokenises the data of a config; loads no model.
    ///
    /// - Throws: `KeelError` or `KeelErrors` about config, plugins, tokenizer and rows.
    package init(_ options: Options, catalog: PluginCatalog) throws {
        let (config, plugins) = try RunConfig.load(
            options.config, overrides: options.overrides, catalog: catalog)
        let reading = try RunReading(config, plugins, catalog: catalog)
        let phase = try DataInspect.phase(options, reading)
        kind = phase.dataKind
        tokenizer = reading.tokenizer
        let template = try RunData.template(config, tokenizer)
        self.template = template.map {
            (config.data.chatTemplate ?? config.model.path, $0.contentHash)
        }
        guard let data = reading.data[kind], let part = options.isValid ? data.valid : data.train
        else {
            throw KeelError(
                "config", "the config names no held-out rows", at: options.config,
                fix: "add \"valid\": \"FILE.jsonl\" to \"data\", or leave --valid away",
                code: .config)
        }
        path = part.rows.path
        counts = part.counts
        let name = options.isValid ? "data.valid: " : "data.train: "
        notes = data.notes.filter { $0.hasPrefix(name) }.map { String($0.dropFirst(name.count)) }
        let limits = RunData.limits(config, kind: kind)
        let tokenizer = tokenizer
        let again = { (index: Int) in
            try TokenizedDataset.outcome(
                of: index, in: part.rows, tokenizer: tokenizer, limits: limits)
        }
        shown = try part.tokens.rows.prefix(options.rows).map { row in
            Shown(
                place: part.rows.place(row.index), row: row, values: part.values[row.index],
                isCut: try again(row.index).isCut)
        }
        let kept = Set(part.tokens.rows.indexes)
        dropped = try (0..<part.rows.count).lazy.filter { !kept.contains($0) }
            .prefix(max(5, options.rows)).map {
                (part.rows.place($0), try again($0).reason ?? "no reward applies")
            }
        lengths = part.tokens.rows.shapes.map { $0.prompt + ($0.completions.max() ?? 0) }
        let completions = part.tokens.rows.flatMap { row in
            row.completions.indices.map { (row.completions[$0], row.mask($0)) }
        }
        tokens = (
            part.tokens.rows.reduce(0) { $0 + $1.prompt.count }
                + completions.reduce(0) { $0 + $1.0.count },
            completions.reduce(0) { $0 + $1.1.count { $0 } }
        )
        open = completions.count { ids, mask in
            mask.last != true || ids.last.map(tokenizer.isEnd) != true
        }
    }

    /// The phase whose rows are shown: the named one, or the first.
    private static func phase(_ options: Options, _ reading: RunReading) throws -> PlannedPhase {
        guard let name = options.phase else { return reading.phases[0] }
        let names = reading.phases.map(\.phase.name)
        guard let phase = reading.phases.first(where: { $0.phase.name == name }) else {
            let near = nearest(name, among: names).map { "did you mean \"\($0)\"? " } ?? ""
            throw KeelError(
                "usage", "the run has no phase \"\(name)\"", at: "--phase",
                fix: near + "phases: \(names.joined(separator: ", "))", code: .usage)
        }
        return phase
    }

    /// The names of a row's completions.
    func sides(_ row: TokenizedRow) -> [String] {
        switch kind {
        case "pairs": ["chosen", "rejected"]
        case "ranked": row.completions.indices.map { "completion \($0 + 1)" }
        default: row.completions.map { _ in "completion" }
        }
    }
}

extension Tokenizer {
    /// Whether an id can end an answer: the end token, or another special one.
    fileprivate func isEnd(_ id: Int32) -> Bool { id == eosID || isSpecial(id) }
}
