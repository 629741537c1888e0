import KeelCore

/// Rows laid end to end without padding, each prompt once.
///
/// The completions of a row are branches: they see their prompt and themselves, never each other,
/// so the result is the same as for separate sequences; so are those of rows with one prompt that stand
/// together, as a group of samples does. The last token of a branch is a target
/// only; where nothing depends on its own state, it is not computed.
///
///     row 0:  [ prompt ][ chosen 0..<n-1 ][ rejected 0..<m-1 ]   row 1: ...
package struct Packing: Sendable, Equatable {
    /// Queries that see the same keys: all of the earlier ranges, and of the last one causally.
    package struct Span: Sendable, Equatable {
        package var queries: Range<Int>
        package var keys: [Range<Int>]
    }

    /// The packed tokens, `[tokens]`.
    package var ids: [Int32] = []
    /// Distance from the start of the token's own sequence, `[tokens]`.
    package var positions: [Int32] = []
    package var spans: [Span] = []
    /// The packed token whose state predicts the target, `[targets]`.
    package var scored: [Int32] = []
    /// The ids to be predicted, `[targets]`.
    package var targets: [Int32] = []
    /// The range of targets of every completion, in the order of rows and sides.
    package var completions: [Range<Int>] = []
    /// The packed token that ends each completion; empty where last tokens are left out.
    package var last: [Int32] = []

    /// - Parameters:
    ///   - rows: each with at least one prompt token and no empty completion.
    ///   - includesLast: also the last token of every branch, whose state a score is read from.
    package init(_ rows: some Sequence<TokenizedRow>, includesLast: Bool = false) {
        var group: [TokenizedRow] = []
        for row in rows {
            if let first = group.first, !Packing.share(first, row) {
                append(group, includesLast)
                group = []
            }
            group.append(row)
        }
        append(group, includesLast)
    }

    /// Rows of one data set row and with one prompt; of another row, dropout would draw other zeros.
    private static func share(_ a: TokenizedRow, _ b: TokenizedRow) -> Bool {
        a.index == b.index && a.prompt == b.prompt
    }

    private mutating func append(_ group: [TokenizedRow], _ includesLast: Bool) {
        guard let row = group.first else { return }
        let branches = group.flatMap(\.completions)
        precondition(!row.prompt.isEmpty, "row \(row.index) has no prompt token")
        let start = ids.count
        ids += row.prompt
        positions += (0..<Int32(row.prompt.count))
        let prompt = start..<ids.count
        let isShared = branches.count != 1
        if isShared { spans.append(Span(queries: prompt, keys: [prompt])) }
        for completion in branches {
            precondition(!completion.isEmpty, "row \(row.index) has an empty completion")
            let begin = ids.count
            let length = completion.count - (includesLast ? 0 : 1)
            ids += completion.prefix(length)
            positions += (0..<length).map { Int32(row.prompt.count + $0) }
            let own = begin..<ids.count
            if includesLast { last.append(Int32(ids.count - 1)) }
            if !isShared {
                spans.append(Span(queries: start..<ids.count, keys: [start..<ids.count]))
            } else if !own.isEmpty {
                spans.append(Span(queries: own, keys: [prompt, own]))
            }
            let first = targets.count
            scored.append(Int32(prompt.upperBound - 1))
            scored += own.prefix(completion.count - 1).map { Int32($0) }
            targets += completion
            completions.append(first..<targets.count)
        }
    }

    /// What names each packed token whatever batch it is in: its row, its branch and its position.
    ///
    /// - Parameter rows: those that were packed.
    package func tokenKeys(_ rows: [TokenizedRow]) -> [UInt64] {
        var keys: [UInt64] = []
        keys.reserveCapacity(ids.count)
        var last: TokenizedRow?
        for row in rows {
            let isFirst = last.map { !Packing.share($0, row) } ?? true
            last = row
            var branches = [(length: isFirst ? row.prompt.count : 0, first: 0)]
            branches += row.completions.map {
                (length: $0.count - (self.last.isEmpty ? 1 : 0), first: row.prompt.count)
            }
            for (branch, part) in branches.enumerated() {
                let stream = RandomStream(
                    seed: 0, place: "token", UInt64(row.index),
                    UInt64(branch == 0 ? 0 : branch + row.sibling))
                keys += (0..<part.length).map { stream.bits(UInt64(part.first + $0)) }
            }
        }
        precondition(keys.count == ids.count, "\(keys.count) keys for \(ids.count) tokens")
        return keys
    }
}
