import Glibc
import KeelCore
import KeelText

/// The rows of a data file as tokens.
package struct TokenizedDataset: Sendable, Equatable {
    /// In the order of the file; `index` is the row's number there.
    package var rows: [TokenizedRow] = []
    /// Rows left out, by reason.
    package var droppedLongPrompt = 0
    package var droppedEmptyAnswer = 0
    package var droppedEmptyPrompt = 0
    /// Rows that lost tokens to a limit.
    package var truncated = 0
    /// Names file, tokenizer and limits: equal keys, equal rows.
    package var contentHash: String
    /// What was dropped, cut or odd, for the log.
    package var notes: [String] = []

    /// Rows left out.
    package var dropped: Int { droppedLongPrompt + droppedEmptyAnswer + droppedEmptyPrompt }

    init(contentHash: String) { self.contentHash = contentHash }

    /// Tokenises every row, or takes the result of an earlier run.
    ///
    /// - Parameters:
    ///   - limits: what to cut and how answers end.
    ///   - cacheDirectory: Keel's cache folder; nil for no cache. A cache that cannot be read is
    /// made
    ///     anew; one that cannot be written is a note.
    /// - Throws: `KeelError` or `KeelErrors` (badData) for rows that bring special tokens twice.
    package static func tokenize(
        _ dataset: Dataset, tokenizer: Tokenizer, limits: LengthLimits, cacheDirectory: String?
    ) throws -> TokenizedDataset {
        let key = cacheKey(dataset, tokenizer, limits)
        let cache = cacheDirectory.map { TokenCache(directory: Files.join($0, "tokens"), key: key) }
        var result: TokenizedDataset
        if let known = cache?.read(rowLimit: dataset.count) {
            result = known
        } else {
            result = try compute(dataset, tokenizer, limits, key)
            do { try cache?.write(result) } catch let error as KeelError {
                result.notes.append(
                    "the tokens could not be cached: \(error.what) (\(error.at ?? ""))")
            }
        }
        result.describe(dataset, tokenizer, limits)
        return result
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

    private static func compute(
        _ dataset: Dataset, _ tokenizer: Tokenizer, _ limits: LengthLimits, _ key: String
    ) throws -> TokenizedDataset {
        let worker = RowTokenizer(tokenizer, limits)
        let tile = 64
        let tiles = (dataset.count + tile - 1) / tile
        let results = Guarded([Int: [Result<RowTokenizer.Outcome, KeelError>]]())
        let threads = tiles < 4 ? 1 : max(1, min(16, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        ThreadPool(threads: threads).parallelFor(tiles) { number in
            let rows = number * tile..<min((number + 1) * tile, dataset.count)
            let part = rows.map { index -> Result<RowTokenizer.Outcome, KeelError> in
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
            results.withLock { $0[number] = part }
        }
        var all = TokenizedDataset(contentHash: key)
        var errors: [KeelError] = []
        let byTile = results.withLock { $0 }
        for outcome in (0..<tiles).flatMap({ byTile[$0] ?? [] }) {
            switch outcome {
            case .success(.kept(let row, let isCut)):
                all.rows.append(row)
                if isCut { all.truncated += 1 }
            case .success(.dropped(.longPrompt)): all.droppedLongPrompt += 1
            case .success(.dropped(.emptyAnswer)): all.droppedEmptyAnswer += 1
            case .success(.dropped(.emptyPrompt)): all.droppedEmptyPrompt += 1
            case .failure(let error): if errors.count < Dataset.errorLimit { errors.append(error) }
            }
        }
        try KeelErrors(errors).throwIfAny()
        return all
    }

    private mutating func describe(
        _ dataset: Dataset, _ tokenizer: Tokenizer, _ limits: LengthLimits
    ) {
        var found: [String] = []
        let limit = limits.maxLength ?? 0
        if droppedLongPrompt > 0 {
            found.append(
                "\(droppedLongPrompt) of \(dataset.count) rows dropped: the prompt alone has max_length (\(limit)) tokens or more"
            )
        }
        if droppedEmptyAnswer > 0 {
            found.append(
                "\(droppedEmptyAnswer) of \(dataset.count) rows dropped: no token is left to train")
        }
        if droppedEmptyPrompt > 0 {
            found.append(
                "\(droppedEmptyPrompt) of \(dataset.count) rows dropped: no token comes before the answers"
            )
        }
        if truncated > 0 {
            found.append(
                "\(truncated) of \(dataset.count) rows cut to the length limits; a cut answer has no EOS"
            )
        }
        if limits.appendEOS, tokenizer.eosID == nil, dataset.kind != .prompt {
            found.append("the tokenizer names no EOS token: answers are trained without an end")
        }
        notes = found + notes
    }
}
