import KeelBridge
import KeelCore

/// Rewards of single tokens: what reward plugins give as the column `token_rewards`, beside their scores.
///
///     token_rewards[i][t] = sum_k weight_k * token_rewards_k[i][t]       over the components in the sum of row i
///
/// They are in the unit of the score and are neither normalised nor clipped; `RunPlugins` refuses configs that ask for it.
enum TokenRewards {
    static let column = "token_rewards"

    /// What one reward gave, cut to the length of each row, in the order of the rows.
    ///
    /// - Parameters:
    ///   - runner: after its collection.
    ///   - rows: all rows.
    ///   - submitted: the number of the row that each row of the column belongs to.
    /// - Returns: nil when the reward gave none.
    /// - Throws: `KeelError` (stopped) for values that are not finite and columns of another shape.
    static func given(
        by runner: any RewardRunner, rows: [RewardRow], submitted: [Int]
    ) throws -> [[Double]]? {
        guard let given = runner.columns[column] else { return nil }
        guard given.shape.count == 2, given.shape[0] == rows.count else {
            throw KeelError(
                "reward",
                "reward \"\(runner.name)\" gave token_rewards of the shape \(given.shape)",
                at: runner.component.path,
                fix: "give one row per response and one column per token", code: .stopped)
        }
        let width = given.shape[1]
        let cells = given.values
        var out = rows.map { [Double](repeating: 0, count: $0.tokens.count) }
        for (at, row) in submitted.enumerated() {
            for token in 0..<min(width, out[row].count) {
                let value = cells[at * width + token]
                // NaN: the reward says nothing of this token.
                if value.isNaN { continue }
                guard value.isFinite else {
                    throw KeelError(
                        "reward",
                        "reward \"\(runner.name)\" gave \(value) to token \(token) of the response",
                        at: "row \(rows[row].id)",
                        fix: "return finite numbers, or NaN for \"does not apply\"", code: .stopped)
                }
                out[row][token] = value
            }
        }
        return out
    }

    /// One list per row; nil when no reward gave any.
    ///
    /// - Parameters:
    ///   - given: `[reward]`, each nil or `[row][token]`.
    ///   - shares: `[reward][row]`: what a reward's score was multiplied by in the sum of the row.
    static func sum(_ given: [[[Double]]?], shares: [[Double]]) -> [[Double]]? {
        var out: [[Double]]?
        for (rows, share) in zip(given, shares) {
            guard let rows else { continue }
            var sums = out ?? rows.map { [Double](repeating: 0, count: $0.count) }
            for (i, cells) in rows.enumerated() where share[i] != 0 {
                for (t, cell) in cells.enumerated() { sums[i][t] += share[i] * cell }
            }
            out = sums
        }
        return out
    }
}
