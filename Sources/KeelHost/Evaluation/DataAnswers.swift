import Glibc
import KeelCore
import KeelData
import KeelModel
import KeelText

/// The answers and texts that a data file itself holds, and how surprising a model finds them.
struct DataAnswers {
    /// Rows with one or two completions.
    private let rows: TokenizedRows
    private let kind: RowKind

    /// Reads the answers of a file; nil where it holds prompts only.
    ///
    /// - Parameters:
    ///   - rows: of the file, from its start; nil = all.
    ///   - context: tokens that the model can read; longer rows are cut or left out, as in training.
    /// - Throws: `KeelError` or `KeelErrors` for rows that cannot be read.
    init?(
        _ path: String, rows limit: Int?, config: DataConfig, conversation: Conversation,
        tokenizer: Tokenizer, context: Int
    ) throws {
        guard let wanted = try DataAnswers.kind(of: path, config) else { return nil }
        let data = try Dataset.load(
            path: path, wanted: wanted, columns: config.renames, layout: RowLayout(config.type),
            conversation: conversation)
        var limits = LengthLimits(maxLength: context)
        limits.keepsPromptEnd = config.truncationSide == .left
        let tokens = try TokenizedDataset.tokenize(
            data, tokenizer: tokenizer, limits: limits, cacheDirectory: nil)
        for note in tokens.notes where tokens.counts.dropped + tokens.counts.truncated > 0 {
            Log.notice("the data's own answers: \(note)")
        }
        var rows = tokens.rows
        if let limit { rows.keep { data.fileRow($0) < limit } }
        self.rows = rows
        kind = data.kind
    }

    /// What the first row holds that can be an answer; nil = nothing.
    private static func kind(of path: String, _ config: DataConfig) throws -> RowKind? {
        let first = try JSONLReader(path).json(0)
        let value = { (field: String) -> JSON? in
            first[config.renames[field] ?? field].flatMap { $0.isNull ? nil : $0 }
        }
        if value("chosen") != nil { return .preference }
        if value("completions") != nil || value("completion") != nil { return .scored }
        if let messages = value("messages")?.array {
            return messages.contains { $0["role"]?.string == "assistant" } ? .text : nil
        }
        let others = ["text", "output", "conversations"]
        return others.contains { value($0) != nil } ? .text : nil
    }

    /// exp of the mean over all answer tokens of -log pi(token | what is before it), at temperature 1.
    ///
    /// The end token of an answer is one of its tokens. Of pairs each side has its own.
    ///
    /// - Returns: what `keel eval` calls the numbers, and the tokens they are means over.
    /// - Throws: what the model's pass throws.
    func perplexity(_ model: Model) throws -> [(String, Double)] {
        guard !rows.isEmpty else {
            Log.warning("no perplexity of the data's own answers: no token of them can be scored")
            return []
        }
        let flat = try SequenceScorer(model: model, temperature: 1).logprobs(Array(rows))
        var sums = [(nats: Double, tokens: Double)](repeating: (0, 0), count: 2)
        var next = 0
        for row in rows {
            for side in row.completions.indices {
                let place = kind == .preference ? side : 0
                for (logprob, isTrained) in zip(flat[next], row.mask(side)) where isTrained {
                    sums[place].nats -= Double(logprob)
                    sums[place].tokens += 1
                }
                next += 1
            }
        }
        let names =
            kind == .preference ? ["perplexity_chosen", "perplexity_rejected"] : ["perplexity"]
        return zip(names, sums).filter { $1.tokens > 0 }.map { ($0, exp($1.nats / $1.tokens)) }
            + [("perplexity_tokens", sums.reduce(0) { $0 + $1.tokens })]
    }
}
