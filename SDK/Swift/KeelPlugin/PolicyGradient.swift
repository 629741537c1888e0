// MARK: - The losses that PPO, RLOO, GRPO and their relatives are made of: tensor formulas, with gradients

/// The clipped surrogate of PPO, to be minimised, and where clipping changed it.
///
///     L = -min(r A, clamp(r, 1 - low, 1 + high) A)
///     A < 0 and dualClip > 0:  min(L, -dualClip A)
///
/// Schulman et al. 2017, equation 7; the dual clip is Ye et al. 2020, arXiv:1912.09729: it bounds the loss where
/// the ratio is huge and the advantage negative. Low and high 0: no clip, L = -r A.
///
/// - Returns: the loss in the shape of the ratio; `low`, `high`: 1 in cells that hit that bound.
public func clippedSurrogate(
    ratio: Tensor, advantages: Tensor, low: Double, high: Double, dualClip: Double = 0
) -> (loss: Tensor, low: Tensor, high: Tensor) {
    let free = ratio * advantages
    let isLow = (ratio < 1 - low) * (advantages < 0)
    let isHigh = (ratio > 1 + high) * (advantages > 0)
    guard low > 0 || high > 0 else { return (-free, isLow, isHigh) }
    let loss = -min(free, ratio.clamped(1 - low, 1 + high) * advantages)
    guard dualClip > 0 else { return (loss, isLow, isHigh) }
    return (select(advantages < 0, min(loss, -dualClip * advantages), loss), isLow, isHigh)
}

/// The value loss of PPO with the values held near those of the roll-out, and where that changed it.
///
///     L = 1/2 max((V - R)², (clamp(V, V_old - range, V_old + range) - R)²)
///
/// Range 0: no clip, L = (V - R)² / 2.
///
/// - Returns: the loss in the shape of the values; `clipped`: 1 in cells where the clip made it larger.
public func clippedValueLoss(
    _ values: Tensor, oldValues: Tensor, returns: Tensor, range: Double
) -> (loss: Tensor, clipped: Tensor) {
    let free = (values - returns).square()
    guard range > 0 else { return (0.5 * free, 0 * free.detached()) }
    let held = (oldValues + (values - oldValues).clamped(-range, range) - returns).square()
    return (0.5 * max(free, held), held > free)
}

/// A column of `[batch]` as `[batch, 1]`, to meet `[batch, time]`; one of `[batch, time]` as it is.
public func perToken(_ x: Tensor) -> Tensor { x.shape?.count == 1 ? x.asColumn() : x }

/// Weights of a policy loss whose responses came from another distribution than the one that is trained.
///
///     w_t = exp(oldLogprobs - behaviorLogprobs), bounded as `correction` says
///
/// - Returns: `[batch, time]`, a constant; 0 outside of the mask.
/// - Throws: `PluginError` when a column is not there.
public func samplerWeights(
    _ rows: Rows, _ correction: SamplerCorrection, low: Double, high: Double
) throws -> Tensor {
    let weights = samplerWeights(
        try rows.oldLogprobs.values(), try rows.behaviorLogprobs.values(),
        mask: try rows.mask.values(), correction, low: low, high: high)
    rows.metric("sampling/importance_sampling_ratio/mean", rows.constant(weights))
    rows.metric("sampling/importance_sampling_ratio/min", rows.constant(weights), .min)
    rows.metric("sampling/importance_sampling_ratio/max", rows.constant(weights), .max)
    return rows.constant(weights)
}

/// What a parameter `sampler_correction` may say.
public enum SamplerCorrectionChoice: String, CaseIterable, Sendable {
    case none
    case tokenTruncate = "token_truncate"
    case tokenMask = "token_mask"
    case sequenceTruncate = "sequence_truncate"
    case sequenceMask = "sequence_mask"
    case seqMaskTIS = "seq_mask_tis"

    /// The correction it names; nil for none.
    public var correction: SamplerCorrection? {
        switch self {
        case .none: nil
        case .tokenTruncate: .tokenTruncate
        case .tokenMask: .tokenMask
        case .sequenceTruncate: .sequenceTruncate
        case .sequenceMask: .sequenceMask
        case .seqMaskTIS: .sequenceMaskTokens
        }
    }
}

/// An estimator of KL(policy || ref) that may stand in a loss.
public enum LossKL: String, CaseIterable, Sendable {
    /// Has the gradient of KL(policy || ref).
    case k2
    /// Has the gradient of KL(ref || policy).
    case k3

    /// `[batch, time]` in nats, not masked; differentiable by `logprobs`.
    public func callAsFunction(_ logprobs: Tensor, _ refLogprobs: Tensor) -> Tensor {
        self == .k2 ? klK2(logprobs, refLogprobs) : klK3(logprobs, refLogprobs)
    }
}

// MARK: - Roll-outs as numbers: what `prepare` of an online objective works with

/// A roll-out's responses before the update, without gradient.
///
/// Rows that the run has dropped (weight 0, a reward of NaN, no tokens) are out of the mask, with the score 0.
public struct RolloutColumns {
    /// `[batch, time]`, 1 on tokens of rows that count.
    public let mask: Column
    /// `[batch]`, from the rewards of the run; 0 where there are none.
    public private(set) var scores: [Double]
    /// `[batch]`, whether the row counts.
    public let isLive: [Bool]
    /// `[batch, time]`, under the policy when the responses were sampled.
    public let logprobs: Column
    /// `[batch, time]`, under the reference; those of the policy where there is none.
    public let refLogprobs: Column
    /// Whether there is a reference.
    public let hasReference: Bool
    /// `[batch, time]`, from rewards that judge tokens; 0 where they do not apply, nil where there are none.
    public let tokenScores: Column?
    private let columns: Columns

    /// Reads what the call has of a roll-out.
    ///
    /// - Throws: `PluginError.missing` without `mask` or `old_logprobs`.
    public init(_ columns: Columns, needsReference: Bool = false) throws {
        self.columns = columns
        let given = try columns("mask")
        logprobs = try columns("old_logprobs")
        hasReference = needsReference || columns.has("ref_logprobs")
        refLogprobs = hasReference ? try columns("ref_logprobs") : logprobs
        let rewards = columns.has("rewards") ? try columns("rewards").values : nil
        let weights = columns.has("weight") ? try columns("weight").values : nil
        let width = given.shape.last ?? 0
        let live = (0..<given.shape[0]).map { row in
            weights?[row] != 0 && rewards?[row].isNaN != true
                && given.values[row * width..<(row + 1) * width].contains { $0 != 0 }
        }
        var cells = given.values
        for cell in cells.indices where !live[cell / width] { cells[cell] = 0 }
        mask = Column(cells, shape: given.shape)
        isLive = live
        scores = zip(rewards ?? live.map { _ in 0 }, live).map { $1 ? $0 : 0 }
        if columns.has("token_rewards") {
            var own = try columns("token_rewards")
            for cell in cells.indices where cells[cell] == 0 || own.values[cell].isNaN {
                own.values[cell] = 0
            }
            tokenScores = own
        } else {
            tokenScores = nil
        }
    }

    /// The number of rows that count.
    public var count: Int { isLive.count { $0 } }

    /// The scores as running moments make them, after taking them in; rows that do not count stay 0.
    public mutating func scale(
        _ mode: ScoreScaling, by moments: inout RunningMoments, clip: Double
    ) {
        guard mode != .none || clip > 0 else { return }
        moments.add(zip(scores, isLive).filter(\.1).map(\.0))
        let (mean, std) = (mode == .normalize ? moments.mean : 0, mode == .none ? 1 : moments.std)
        for row in scores.indices where isLive[row] {
            let score = (scores[row] - mean) / std
            scores[row] = clip > 0 ? Swift.min(Swift.max(score, -clip), clip) : score
        }
    }

    /// `[batch]`: Σ_t k1, 0 for rows that do not count.
    public var sequenceKL: [Double] {
        KeelPlugin.sequenceKL(logprobs, refLogprobs, mask: mask, estimator: .k1)
    }

    /// r_t = tokenScore_t - klCoef · kl_t, the score added on the last token: `[batch, time]`.
    public func tokenRewards(klCoef: Double, estimator: KLEstimator = .k1) -> Column {
        var rewards = shapedRewards(
            scores: scores, logprobs: logprobs, refLogprobs: refLogprobs, mask: mask,
            klCoef: klCoef, estimator: estimator)
        guard let tokenScores else { return rewards }
        for cell in rewards.values.indices { rewards.values[cell] += tokenScores.values[cell] }
        return rewards
    }

    /// R = score + Σ_t tokenScore_t - klCoef Σ_t k1: `[batch]`.
    public func totals(klCoef: Double) -> [Double] {
        zip(fullScores, sequenceKL).map { $0 - klCoef * $1 }
    }

    /// Scores with those of the tokens: `[batch]`.
    private var fullScores: [Double] {
        guard let tokenScores else { return scores }
        return zip(scores, rowSums(tokenScores)).map(+)
    }

    /// The sum of a row's cells under the mask.
    private func rowSums(_ column: Column) -> [Double] {
        let width = mask.shape.last ?? 0
        return isLive.indices.map { row in
            (row * width..<(row + 1) * width).reduce(0) {
                mask.values[$1] == 0 ? $0 : $0 + column.values[$1]
            }
        }
    }

    /// The mean over rows that count of a number per row; 0 of none.
    public func mean(_ values: [Double]) -> Double {
        let own = zip(values, isLive).filter(\.1).map(\.0)
        return own.isEmpty ? 0 : own.reduce(0, +) / Double(own.count)
    }

    /// The metrics that PPO's users know, over this roll-out: `objective/...`, `val/num_eos_tokens`.
    public func report(klCoef: Double, rewards: Column) {
        let total = rowSums(rewards)
        let scores = fullScores
        if hasReference { columns.metric("objective/kl", mean(sequenceKL)) }
        columns.metric("objective/kl_coef", klCoef)
        columns.metric("objective/entropy", -mean(rowSums(logprobs)))
        columns.metric("objective/scores", mean(scores))
        columns.metric("objective/non_score_reward", mean(zip(total, scores).map(-)))
        columns.metric("objective/rlhf_reward", mean(total))
        if columns.has("finished"), let ended = try? columns("finished").values {
            columns.metric("val/num_eos_tokens", ended.reduce(0, +))
        }
    }
}

/// What running moments do to scores.
public enum ScoreScaling: String, CaseIterable, Sendable {
    case none
    /// score / std.
    case scale
    /// (score - mean) / std.
    case normalize
}

/// The share of the returns' variance that the values explain: 1 - Var(returns - values) / Var(returns).
///
/// 1: exact; 0: no better than a constant; below: worse. NaN when all returns are equal.
public func explainedVariance(values: Column, returns: Column, mask: Column) -> Double {
    var (sum, squares, errors, errorSquares, count) = (0.0, 0.0, 0.0, 0.0, 0.0)
    for cell in mask.values.indices where mask.values[cell] != 0 {
        let (value, target) = (values.values[cell], returns.values[cell])
        count += 1
        sum += target
        squares += target * target
        errors += target - value
        errorSquares += (target - value) * (target - value)
    }
    let variance = squares - sum * sum / count
    return variance > 0 ? 1 - (errorSquares - errors * errors / count) / variance : .nan
}
