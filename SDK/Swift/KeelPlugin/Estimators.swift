import CKeel

// MARK: - With gradients: tensor formulas that several objectives share

/// Per-token estimate of KL(policy || ref): the log-ratio itself, unbiased, sometimes negative.
///
///     k1 = d,   d = logprobs - refLogprobs
///
/// Schulman 2020, "Approximating KL Divergence". As a loss its expected gradient is zero.
///
/// - Returns: `[batch, time]` in nats, not masked.
public func klK1(_ logprobs: Tensor, _ refLogprobs: Tensor) -> Tensor { logprobs - refLogprobs }

/// Per-token estimate of KL(policy || ref): biased, never negative; as a loss it has KL's gradient.
///
///     k2 = d² / 2,   d = logprobs - refLogprobs
///
/// - Returns: `[batch, time]` in nats, not masked.
public func klK2(_ logprobs: Tensor, _ refLogprobs: Tensor) -> Tensor {
    0.5 * (logprobs - refLogprobs).square()
}

/// Per-token estimate of KL(policy || ref): unbiased and never negative.
///
///     k3 = exp(d) - 1 - d,   d = refLogprobs - logprobs,   exponent within ±20
///
/// - Returns: `[batch, time]` in nats, not masked.
public func klK3(_ logprobs: Tensor, _ refLogprobs: Tensor) -> Tensor {
    let d = refLogprobs - logprobs
    return d.clamped(-20, 20).expm1() - d
}

/// Sum over the last axis of the cells under the mask: `[batch, time]` to `[batch]`.
public func maskedSum(_ x: Tensor, _ mask: Tensor) -> Tensor { x.sum(axis: -1, mask: mask) }

/// Mean over the last axis of the cells under the mask; 0 where there are none.
public func maskedMean(_ x: Tensor, _ mask: Tensor) -> Tensor { x.mean(axis: -1, mask: mask) }

/// The importance ratio π/π_old, its exponent within ±20 so that nothing overflows.
///
///     ratio = exp(clamp(logprobs - oldLogprobs, -20, 20))
public func importanceRatio(_ logprobs: Tensor, _ oldLogprobs: Tensor) -> Tensor {
    (logprobs - oldLogprobs).clamped(-20, 20).exp()
}

// MARK: - Without gradients: the functions of `keel_math.h` on plain numbers

/// What is subtracted from a response's reward.
public enum Baseline: Int32, Sendable {
    case none = 0
    /// The mean of its group.
    case mean = 1
    /// The mean of the other responses of its group.
    case leaveOneOut = 2
    /// The mean of its group, weighted by length.
    case lengthWeighted = 3
}

/// What advantages are divided by.
public enum AdvantageScale: Int32, Sendable {
    case none = 0
    /// The standard deviation of the group's rewards.
    case group = 1
    /// The standard deviation over the batch.
    case batch = 2
}

/// Advantages of responses that share a prompt: reward, clip, minus KL, minus baseline, scale.
///
/// - Parameters:
///   - rewards: `[batch]`; NaN = none, such a row is in no statistic and has advantage 0.
///   - group: `[batch]`, equal for responses to the same prompt.
///   - sequenceKL: `[batch]`, times `klCoef` taken from the reward before the baseline.
///   - clip: bounds of the reward, nil = none.
///   - lengths: `[batch]`, tokens of each response, for a baseline that weighs by them.
/// - Returns: `[batch]`.
public func groupAdvantages(
    rewards: [Double], group: [Double], sequenceKL: [Double]? = nil, klCoef: Double = 0,
    clip: (Double, Double)? = nil, lengths: [Double]? = nil,
    baseline: Baseline, scale: AdvantageScale, eps: Double = 1e-4
) -> [Double] {
    var sums = rewards
    var advantages = rewards
    var options = keel_group_options(
        baseline: baseline.rawValue, scale: scale.rawValue, normalize_then_sum: 0, eps: eps,
        kl_coef: klCoef,
        clip_low: clip?.0 ?? 0, clip_high: clip?.1 ?? 0)
    keel_math_group_advantages(
        &sums, &advantages, rewards, [1], group.map { Int32($0) }, sequenceKL, lengths,
        rewards.count,
        1, &options)
    return advantages
}

/// Estimator of KL(policy || ref) at a sampled token.
public enum KLEstimator: String, CaseIterable, Sendable {
    case k1, k2, k3, abs

    /// Its number in `keel_math.h`.
    var code: Int32 {
        switch self {
        case .k1: Int32(KEEL_KL_K1)
        case .k2: Int32(KEEL_KL_K2)
        case .k3: Int32(KEEL_KL_K3)
        case .abs: Int32(KEEL_KL_ABS)
        }
    }
}

/// Sum over the mask of per-token KL estimates: `[batch, time]` to `[batch]`, in nats.
public func sequenceKL(
    _ logprobs: Column, _ refLogprobs: Column, mask: Column, estimator: KLEstimator = .k1
) -> [Double] {
    let rows = logprobs.shape[0]
    var sums = [Double](repeating: 0, count: rows)
    let time = rows > 0 ? logprobs.values.count / rows : 0
    keel_math_sequence_kl(
        &sums, estimator.code, logprobs.values, refLogprobs.values, mask.values, rows, time)
    return sums
}

/// Rewards per token: the KL to the reference as a penalty, the score on the last token of the mask.
///
///     r_t = -klCoef · kl_t,   r_last += score
///
/// - Parameters:
///   - scores: `[batch]`.
///   - logprobs: `[batch, time]`, of the policy when the response was sampled.
/// - Returns: `[batch, time]`, 0 outside of the mask.
public func shapedRewards(
    scores: [Double], logprobs: Column, refLogprobs: Column, mask: Column, klCoef: Double,
    estimator: KLEstimator = .k1
) -> Column {
    var result = logprobs
    let rows = logprobs.shape[0]
    keel_math_token_rewards(
        &result.values, scores, logprobs.values, refLogprobs.values, mask.values, rows,
        rows > 0 ? logprobs.values.count / rows : 0, klCoef, estimator.code)
    return result
}

/// Discounted sum of the rewards from each token on, less the row's baseline: `[batch, time]`.
public func returnsToGo(
    _ rewards: Column, mask: Column, gamma: Double = 1, baseline: [Double]? = nil
) -> Column {
    var result = rewards
    let rows = rewards.shape[0]
    keel_math_returns_to_go(
        &result.values, rewards.values, mask.values, baseline, rows,
        rows > 0 ? rewards.values.count / rows : 0, gamma)
    return result
}

/// Generalised advantage estimation, `[batch, time]` each.
///
///     δ_t = r_t + γ V_{t+1} - V_t,   A_t = δ_t + γ λ A_{t+1},   returns = A + V
///
/// Schulman et al. 2016, equation 16. Cells outside of the mask are stepped over.
///
/// - Parameter bootstrap: `[batch]`, the value of what would follow; nil = the response is over.
public func gae(
    rewards: Column, values: Column, mask: Column, gamma: Double, lam: Double,
    bootstrap: [Double]? = nil
) -> (advantages: Column, returns: Column) {
    var advantages = rewards
    var returns = rewards
    let rows = rewards.shape[0]
    keel_math_gae(
        &advantages.values, &returns.values, rewards.values, values.values, mask.values, bootstrap,
        rows,
        rows > 0 ? rewards.values.count / rows : 0, gamma, lam)
    return (advantages, returns)
}

/// (x - mean) / sqrt(var + eps) over the mask; without `shift` the mean is added back.
///
/// Fewer than two cells under the mask: x unchanged.
public func whiten(
    _ x: Column, mask: Column, unbiased: Bool = false, eps: Double = 1e-8, shift: Bool = true
) -> Column {
    var result = x
    keel_math_whiten(
        &result.values, x.values, mask.values, x.values.count, unbiased ? 1 : 0, eps, shift ? 1 : 0)
    return result
}

/// Running mean and standard deviation of scores, over all batches seen.
public struct RunningMoments: Sendable {
    private var moments = keel_moments(mean: 0, var: 1, count: 1e-24)

    /// No scores yet.
    public init() {}
    /// The mean so far.
    public var mean: Double { moments.mean }
    /// The unbiased standard deviation so far; 1 before two scores, at least 1e-8.
    public var std: Double {
        var copy = moments
        return keel_math_moments_std(&copy)
    }
    /// Takes in a batch.
    public mutating func add(_ scores: [Double]) {
        keel_math_moments_add(&moments, scores, scores.count)
    }
    /// For a state: writes what `init(from:)` reads.
    public func write(to writer: inout StateWriter) {
        for value in [moments.mean, moments.var, moments.count] { writer.write(value) }
    }
    /// From a state.
    ///
    /// - Throws: `PluginError.state` when the bytes end too early.
    public init(from reader: inout StateReader) throws {
        moments.mean = try reader.double()
        moments.var = try reader.double()
        moments.count = try reader.double()
    }
}

/// How the coefficient of a KL penalty follows the KL that is seen.
public enum KLControl: Sendable {
    /// It stays.
    case fixed
    /// β (1 + clip(kl / target - 1, ±0.2) n / horizon): Ziegler et al. 2019, section 2.2.
    case adaptive(target: Double, horizon: Double)
    /// Half below target / 1.5, double above 1.5 · target: Schulman et al. 2017, section 4.
    case ppo2017(target: Double)

    /// The next coefficient after `count` responses with mean sequence KL `kl`, in nats.
    public func next(_ coefficient: Double, kl: Double, count: Int) -> Double {
        switch self {
        case .fixed: coefficient
        case .adaptive(let target, let horizon):
            keel_math_kl_adaptive(coefficient, kl, target, horizon, Double(count))
        case .ppo2017(let target): keel_math_kl_ppo2017(coefficient, kl, target)
        }
    }
}
