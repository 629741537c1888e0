import Glibc
import KeelBridge
import KeelCore

/// Many reward components, one number per completion (online-objectives 13).
///
///     used_k     = clip_k(normalise_k(score_k))                 normalise: (score - mean) / std, or score / std, running
///     sum:   R   = sum_k weight_k * used_k                      over the components that apply to the row
///     gated: R   = weight_g * used_g                            if the row is tagged or used_g < threshold
///                = sum over the others, as above                else (Llama-2's rule: safety g, else helpfulness)
///     normalize_then_sum: used_k first normalised among the completions of its prompt, R over the batch (TRL)
///     reward     = shape(transform(R))                          transform: none, logit, whiten(logit(R)) over the batch
///
/// NaN means "not applicable" and leaves its term out; a row that no component answers is treated as
/// `missing` says. A row whose scoring failed under the policy `drop_row` is NaN whatever else answers.
/// Evaluation measures the model, not the batch: there scores are not normalised, R is the weighted sum and not
/// transformed.
package struct RewardComposition {
    package enum Normalization: String, Sendable { case none, scale, normalize }

    package struct Part: Sendable {
        package var name: String
        package var weight: Double
        /// (Normalised) scores are clipped to this range before they are weighted.
        package var clip: ClosedRange<Double>?
        package var normalization: Normalization

        package init(
            name: String, weight: Double, clip: ClosedRange<Double>? = nil,
            normalization: Normalization = .none
        ) {
            self.name = name
            self.weight = weight
            self.clip = clip
            self.normalization = normalization
        }
    }

    /// What happens to a row that no component answers.
    package enum Missing: Sendable, Equatable {
        case stop
        case dropRow
        case constant(Double)
    }

    package enum Transform: String, Sendable {
        case none
        case logit
        case logitWhiten = "logit_whiten"
    }

    /// The component that takes over where its score is low.
    package struct Gate: Sendable {
        /// Which of the parts.
        package var part: Int
        package var threshold: Double

        package init(part: Int, threshold: Double) {
            self.part = part
            self.threshold = threshold
        }
    }

    /// Changes by length, after everything else.
    package struct Shaping: Sendable {
        /// DAPO's soft overlong punishment: `factor` times -1 at `maxLength` tokens, from `cache` before it on.
        package var overlong: (maxLength: Double, cache: Double, factor: Double)?
        /// Of completions cut at the length limit: a factor, or below 0 the reward itself.
        package var stopProperly: Double?
        /// Taken from the reward of such completions.
        package var missingEOSPenalty = 0.0

        package init() {}
    }

    /// What the composition knows of a row besides its scores.
    package struct Row: Sendable {
        /// The row says that the gate decides.
        package var isTagged = false
        package var length = 0
        package var isFinished = true
        /// Equal for the completions of one prompt in the batch.
        package var group: Int32 = 0
        /// Its scoring failed, and the policy is to go on without it.
        package var isDropped = false

        package init() {}
    }

    package enum Purpose: Sendable {
        /// Takes the scores into the running moments; normalised and transformed.
        case training
        /// On the scale of the training rewards, but not part of their moments.
        case baseline
        /// As the rewards say it.
        case evaluation
    }

    package var parts: [Part]
    package var missing: Missing
    /// nil: the weighted sum of all.
    package var gate: Gate?
    /// Scores are normalised among the completions of their prompt before they are summed.
    package var isGroupNormalized = false
    package var transform = Transform.none
    package var shaping = Shaping()
    /// Of the raw scores seen in training, per part.
    package private(set) var moments: [RunningMoments]

    package init(parts: [Part], missing: Missing, gate: Gate? = nil) {
        self.parts = parts
        self.missing = missing
        self.gate = gate
        moments = parts.map { _ in RunningMoments() }
    }

    package struct Result {
        /// The combined reward of each row; NaN where the row is dropped.
        package var rewards: [Double] = []
        /// `[part][row]`: normalised and clipped; NaN where it does not apply.
        package var used: [[Double]]
        /// `[part][row]`: what each part adds to the sum; 0 for those that the gate shuts out.
        ///
        /// Not yet normalised in the group.
        package var weighted: [[Double]]
        /// `[part][row]`: the weight with which each part is in the sum; 0 where it does not apply or is shut out.
        package var shares: [[Double]]
        /// Rows that no component answered.
        package var unanswered: [Int] = []
        /// Rows for which the gate decided.
        package var gated: [Int] = []
    }

    /// - Parameters:
    ///   - scores: one list per component, each with a value per row.
    ///   - rows: what is known of them; nil = nothing.
    ///   - purpose: what the rewards are for.
    ///   - place: what errors call a row.
    /// - Throws: `KeelError` (stopped) for an infinite score, an unanswered row under `missing: stop`, a
    ///   logit of what is no probability, and completions that have no others to be compared with.
    package mutating func combine(
        _ scores: [[Double]], rows given: [Row]? = nil, purpose: Purpose = .training,
        place: (Int) -> String = { "row \($0) of the batch" }
    ) throws -> Result {
        precondition(
            scores.count == parts.count, "\(scores.count) score lists for \(parts.count) rewards")
        let count = scores.first?.count ?? 0
        let rows = given ?? [Row](repeating: Row(), count: count)
        precondition(rows.count == count, "\(rows.count) rows for \(count) scores")
        try refuseInfinities(scores, place)
        if purpose == .training { observe(scores, rows) }
        var result = Result(
            used: parts.indices.map { k in scores[k].map { used($0, k, purpose) } },
            weighted: scores.map { $0.map { _ in .nan } },
            shares: scores.map { $0.map { _ in 0 } })
        for (i, row) in rows.enumerated() {
            result.rewards.append(try combined(i, row, &result, place))
        }
        if purpose != .evaluation {
            try normalizeInGroups(&result, rows, place)
            try transform(&result, place)
        }
        let unanswered = Set(result.unanswered)
        for (i, row) in rows.enumerated() where !unanswered.contains(i) {
            result.rewards[i] = shaped(result.rewards[i], row)
        }
        return result
    }

    private func refuseInfinities(_ scores: [[Double]], _ place: (Int) -> String) throws {
        for (part, values) in zip(parts, scores) {
            guard let row = values.firstIndex(where: \.isInfinite) else { continue }
            throw KeelError(
                "reward", "reward \"\(part.name)\" gave \(values[row])", at: place(row),
                fix: "return a finite number, or NaN for \"does not apply\"", code: .stopped)
        }
    }

    private mutating func observe(_ scores: [[Double]], _ rows: [Row]) {
        for (k, part) in parts.enumerated() where part.normalization != .none {
            moments[k].add(
                zip(scores[k], rows).filter { !$0.0.isNaN && !$0.1.isDropped }.map(\.0))
        }
    }

    private func used(_ score: Double, _ k: Int, _ purpose: Purpose) -> Double {
        var value = score
        if purpose != .evaluation, parts[k].normalization != .none {
            if parts[k].normalization == .normalize { value -= moments[k].mean }
            value /= moments[k].std
        }
        // NaN compares as false with everything, and so stays.
        if let clip = parts[k].clip {
            if value < clip.lowerBound { value = clip.lowerBound }
            if value > clip.upperBound { value = clip.upperBound }
        }
        return value
    }

    /// R of one row; fills the row's cells of `weighted`, `gated` and `unanswered`.
    private func combined(
        _ i: Int, _ row: Row, _ result: inout Result, _ place: (Int) -> String
    ) throws -> Double {
        if row.isDropped { return .nan }
        var terms = parts.indices.filter { !result.used[$0][i].isNaN }
        if let gate, terms.contains(gate.part) {
            let isTheGate = RewardMath.usesGate(
                result.used[gate.part][i], isTagged: row.isTagged, threshold: gate.threshold)
            // With nobody else to answer, the gate's score is all there is.
            if isTheGate || terms == [gate.part] {
                result.gated.append(i)
                for k in terms where k != gate.part { result.weighted[k][i] = 0 }
                terms = [gate.part]
            } else {
                result.weighted[gate.part][i] = 0
                terms.removeAll { $0 == gate.part }
            }
        }
        var sum = 0.0
        for k in terms {
            result.weighted[k][i] = parts[k].weight * result.used[k][i]
            result.shares[k][i] = parts[k].weight
            sum += result.weighted[k][i]
        }
        if !terms.isEmpty { return sum }
        result.unanswered.append(i)
        switch missing {
        case .constant(let value): return value
        case .dropRow: return .nan
        case .stop:
            throw KeelError(
                "reward", "no reward applies to this row", at: place(i),
                fix:
                    "let one of the rewards answer it, or set combine.missing to \"drop_row\" or \"constant\"",
                code: .stopped)
        }
    }

    /// R from scores that are normalised among the completions of a prompt; rows without an answer keep theirs.
    private func normalizeInGroups(
        _ result: inout Result, _ rows: [Row], _ place: (Int) -> String
    ) throws {
        guard isGroupNormalized, !rows.isEmpty else { return }
        let group = rows.map(\.group)
        guard rows.count == 1 || Set(group).count < group.count else {
            throw KeelError(
                "reward",
                "combine.rule \"normalize_then_sum\" compares the completions of a prompt, but every prompt has one",
                at: place(0), fix: "use \"sum\", or more completions to a prompt", code: .stopped)
        }
        let scores = result.used.map { cells in
            zip(cells, rows).map { $1.isDropped ? .nan : $0 }
        }
        let values = RewardMath.normalizeThenSum(
            scores, weights: parts.map(\.weight), group: group)
        for (i, value) in values.enumerated() where !value.isNaN { result.rewards[i] = value }
    }

    private func transform(_ result: inout Result, _ place: (Int) -> String) throws {
        guard transform != .none else { return }
        let unanswered = Set(result.unanswered)
        var logits = result.rewards.map { _ in Double.nan }
        for (i, reward) in result.rewards.enumerated()
        where !unanswered.contains(i) && !reward.isNaN {
            guard reward >= 0, reward <= 1 else {
                throw KeelError(
                    "reward",
                    "the combined reward is \(reward), which is no probability to take the logit of",
                    at: place(i),
                    fix:
                        "give rewards from 0 to 1 (\"sigmoid\": true of the reward \"model\"), or set "
                        + "combine.transform to \"none\"", code: .stopped)
            }
            logits[i] = RewardMath.logit(reward)
        }
        let values = transform == .logitWhiten ? RewardMath.whiten(logits) : logits
        for (i, value) in values.enumerated() where !value.isNaN { result.rewards[i] = value }
    }

    private func shaped(_ reward: Double, _ row: Row) -> Double {
        var reward = reward
        if let overlong = shaping.overlong {
            reward += RewardMath.overlong(
                Double(row.length), maxLength: overlong.maxLength, cache: overlong.cache,
                factor: overlong.factor)
        }
        if let coef = shaping.stopProperly, !reward.isNaN {
            reward = RewardMath.stopProperly(reward, isTruncated: !row.isFinished, coef)
        }
        return row.isFinished ? reward : reward - shaping.missingEOSPenalty
    }

    // MARK: - Checkpoints

    /// The running moments; nil when nothing is normalised.
    package var state: JSON? {
        parts.contains { $0.normalization != .none } ? .array(moments.map(\.json)) : nil
    }

    /// Takes the running moments of a checkpoint back.
    package mutating func restore(_ state: JSON?) {
        let saved = (state?.array ?? []).map { RunningMoments(json: $0) }
        guard saved.count == parts.count else { return }
        for (k, found) in saved.enumerated() { if let found { moments[k] = found } }
    }
}
