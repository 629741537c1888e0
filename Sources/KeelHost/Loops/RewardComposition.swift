import Glibc
import KeelBridge
import KeelCore

/// Many reward components, one number per completion.
///
///     reward_i = sum_k weight_k * clip_k(score_k,i)      over the components that apply to row i
///
/// NaN means "not applicable" and leaves its term out; a row that no component answers is treated as
/// `missing` says (online-objectives 13; TRL's NaN-aware weighted sum).
package struct RewardComposition {
    package struct Part: Sendable {
        package var name: String
        package var weight: Double
        /// Scores are clipped to this range before they are weighted.
        package var clip: ClosedRange<Double>?

        package init(name: String, weight: Double, clip: ClosedRange<Double>?) {
            self.name = name
            self.weight = weight
            self.clip = clip
        }
    }

    /// What happens to a row that no component answers.
    package enum Missing: Sendable, Equatable {
        case stop
        case dropRow
        case constant(Double)
    }

    package var parts: [Part]
    package var missing: Missing

    package init(parts: [Part], missing: Missing) {
        self.parts = parts
        self.missing = missing
    }

    package struct Result {
        /// The combined reward of each row; NaN where the row is dropped.
        package var rewards: [Double]
        /// Rows that no component answered.
        package var unanswered: [Int]
    }

    /// - Parameters:
    ///   - scores: one list per component, each with a value per row.
    ///   - place: what errors call a row.
    /// - Throws: `KeelError` (stopped) for an infinite score, or an unanswered row under `missing: stop`.
    package func combine(
        _ scores: [[Double]], place: (Int) -> String = { "row \($0) of the batch" }
    ) throws -> Result {
        precondition(
            scores.count == parts.count, "\(scores.count) score lists for \(parts.count) rewards")
        let rows = scores.first?.count ?? 0
        var result = Result(rewards: [], unanswered: [])
        for row in 0..<rows {
            var sum = 0.0
            var answered = false
            for (part, values) in zip(parts, scores) where !values[row].isNaN {
                guard values[row].isFinite else {
                    throw KeelError(
                        "reward", "reward \"\(part.name)\" gave \(values[row])",
                        at: place(row),
                        fix: "return a finite number, or NaN for \"does not apply\"", code: .stopped
                    )
                }
                let score =
                    part.clip.map { min(max(values[row], $0.lowerBound), $0.upperBound) }
                    ?? values[row]
                sum += part.weight * score
                answered = true
            }
            if !answered { result.unanswered.append(row) }
            switch (answered, missing) {
            case (true, _): result.rewards.append(sum)
            case (false, .constant(let value)): result.rewards.append(value)
            case (false, .dropRow): result.rewards.append(.nan)
            case (false, .stop):
                throw KeelError(
                    "reward", "no reward applies to this row", at: place(row),
                    fix:
                        "let one of the rewards answer it, or set combine.missing to \"drop_row\" or \"constant\"",
                    code: .stopped)
            }
        }
        return result
    }
}
