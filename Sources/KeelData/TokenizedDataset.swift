import Glibc
import KeelCore
import KeelText

/// The rows of a data file as tokens.
package struct TokenizedDataset: Sendable, Equatable {
    /// What became of the rows that were not taken as they are.
    package struct Counts: Sendable, Equatable {
        /// Rows left out, by reason.
        package var droppedLongPrompt = 0
        package var droppedEmptyAnswer = 0
        package var droppedEmptyPrompt = 0
        /// Rows that lost tokens to a limit.
        package var truncated = 0

        /// Rows left out.
        package var dropped: Int { droppedLongPrompt + droppedEmptyAnswer + droppedEmptyPrompt }
    }

    package var rows = TokenizedRows()
    package var counts = Counts()
    /// Names file, tokenizer and limits: equal keys, equal rows.
    package var contentHash: String
    /// What was dropped, cut or odd, for the log.
    package var notes: [String] = []

    init(contentHash: String) { self.contentHash = contentHash }

    /// Tokenises every row, or takes the result of an earlier run.
    ///
    /// - Parameters:
    ///   - limits: what to cut and how answers end.
    ///   - cacheDirectory: Keel's cache folder; nil for no cache. The rows stay in its
    ///     file. A cache that cannot be read is made anew; one that cannot be written is a note.
    /// - Throws: `KeelError` or `KeelErrors` (badData) for rows that bring special tokens twice.
    package static func tokenize(
        _ dataset: Dataset, tokenizer: Tokenizer, limits: LengthLimits, cacheDirectory: String?
    ) throws -> TokenizedDataset {
        let key = cacheKey(dataset, tokenizer, limits)
        let cache = cacheDirectory.map { TokenCache(directory: Files.join($0, "tokens"), key: key) }
        func make(_ give: (TokenizedRow) throws -> Void) throws -> Counts {
            try compute(dataset, tokenizer, limits, give)
        }
        var result = TokenizedDataset(contentHash: key)
        if let known = try cache?.read(dataset.kind, rowLimit: dataset.count)
            ?? written(cache, dataset, &result.notes, make)
        {
            result = known
        } else {
            var rows: [TokenizedRow] = []
            result.counts = try make { rows.append($0) }
            result.rows = TokenizedRows(rows)
        }
        result.describe(dataset, tokenizer, limits)
        return result
    }

    /// Writes the rows to a cache and reads them from there; nil, and a note, where that cannot be.
    private static func written(
        _ cache: TokenCache?, _ dataset: Dataset, _ notes: inout [String],
        _ make: (_ give: (TokenizedRow) throws -> Void) throws -> Counts
    ) throws -> TokenizedDataset? {
        do {
            try cache?.write(make)
        } catch let error as KeelError where error.code != .badData {
            notes.append("the tokens could not be cached: \(error.what) (\(error.at ?? ""))")
            return nil
        }
        return cache?.read(dataset.kind, rowLimit: dataset.count)
    }

    /// What becomes of one row: why it is left out, or whether it is cut.
    ///
    /// - Throws: `KeelError` (badData) for a row that brings special tokens twice.
    package static func outcome(
        of index: Int, in dataset: Dataset, tokenizer: Tokenizer, limits: LengthLimits
    ) throws -> (reason: String?, isCut: Bool) {
        let outcome = try RowTokenizer(tokenizer, limits).tokenize(
            dataset.texts(index), kind: dataset.kind, index: index, place: dataset.place(index))
        switch outcome {
        case .kept(_, let isCut): return (nil, isCut)
        case .dropped(let reason): return (reason.text, false)
        }
    }

    private static func cacheKey(
        _ dataset: Dataset, _ tokenizer: Tokenizer, _ limits: LengthLimits
    ) -> String {
        let special = tokenizer.special
        let parts: [String] = [
            "tokens", String(TokenCache.version), dataset.contentHash, dataset.conversionKey,
            tokenizer.contentHash,
            "\(special.bos ?? -1)/\(special.eos ?? -1)", limits.key,
        ]
        return SHA256.hex(parts.joined(separator: "\n"))
    }

    /// Tokenises all rows, a thousand at a time, and gives out those that are kept.
    private static func compute(
        _ dataset: Dataset, _ tokenizer: Tokenizer, _ limits: LengthLimits,
        _ give: (TokenizedRow) throws -> Void
    ) throws -> Counts {
        let worker = RowTokenizer(tokenizer, limits)
        let (tile, atOnce) = (64, 1024)
        let threads =
            dataset.count < 4 * tile ? 1 : max(1, min(16, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        let pool = ThreadPool(threads: threads)
        var counts = Counts()
        var errors: [KeelError] = []
        for first in stride(from: 0, to: dataset.count, by: atOnce) {
            let end = min(first + atOnce, dataset.count)
            let tiles = (end - first + tile - 1) / tile
            let results = Guarded([Int: [Result<RowTokenizer.Outcome, KeelError>]]())
            pool.parallelFor(tiles) { number in
                let start = first + number * tile
                let part = (start..<min(start + tile, end)).map {
                    outcome(of: $0, in: dataset, by: worker)
                }
                results.withLock { $0[number] = part }
            }
            let byTile = results.withLock { $0 }
            for outcome in (0..<tiles).lazy.flatMap({ byTile[$0] ?? [] }) {
                switch outcome {
                case .success(.kept(let row, let isCut)):
                    if isCut { counts.truncated += 1 }
                    if errors.isEmpty { try give(row) }
                case .success(.dropped(.longPrompt)): counts.droppedLongPrompt += 1
                case .success(.dropped(.emptyAnswer)): counts.droppedEmptyAnswer += 1
                case .success(.dropped(.emptyPrompt)): counts.droppedEmptyPrompt += 1
                case .failure(let error):
                    if errors.count < Dataset.errorLimit { errors.append(error) }
                }
            }
        }
        try KeelErrors(errors).throwIfAny()
        return counts
    }

    private static func outcome(
        of index: Int, in dataset: Dataset, by worker: RowTokenizer
    ) -> Result<RowTokenizer.Outcome, KeelError> {
        do {
            return .success(
                try worker.tokenize(
                    dataset.texts(index), kind: dataset.kind, index: index,
                    place: dataset.place(index)))
        } catch let error as KeelError {
            return .failure(error)
        } catch {
            return .failure(
                KeelError("data", "\(error)", at: dataset.place(index), code: .badData))
        }
    }

    private mutating func describe(
        _ dataset: Dataset, _ tokenizer: Tokenizer, _ limits: LengthLimits
    ) {
        var found: [String] = []
        let limit = limits.maxLength ?? 0
        if counts.droppedLongPrompt > 0 {
            found.append(
                "\(counts.droppedLongPrompt) of \(dataset.count) rows dropped: the prompt alone has max_length (\(limit)) tokens or more"
            )
        }
        if counts.droppedEmptyAnswer > 0 {
            found.append(
                "\(counts.droppedEmptyAnswer) of \(dataset.count) rows dropped: no token is left to train"
            )
        }
        if counts.droppedEmptyPrompt > 0 {
            found.append(
                "\(counts.droppedEmptyPrompt) of \(dataset.count) rows dropped: no token comes before the answers"
            )
        }
        if counts.truncated > 0 {
            found.append(
                "\(counts.truncated) of \(dataset.count) rows cut to the length limits; a cut answer has no EOS"
            )
        }
        if limits.appendEOS, tokenizer.eosID == nil, dataset.kind != .prompt {
            found.append("the tokenizer names no EOS token: answers are trained without an end")
        }
        notes = found + notes
    }
}
