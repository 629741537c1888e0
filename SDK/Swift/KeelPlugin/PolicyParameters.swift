// MARK: - Parameters that PPO and its relatives have in common

/// How the KL penalty in the reward is estimated, and how its weight follows the KL.
public struct KLPenaltyParameters: ParameterGroup {
    /// Of the KL at a token.
    @Param("kl_estimator", "The estimate of that KL at a token.")
    public var estimator = KLEstimator.k1
    /// Whether the weight of the KL stays.
    @Param("kl_control", "fixed, or adaptive: kl_coef follows the KL towards kl_target.")
    public var control = Control.fixed
    /// KL per response, in nats.
    @Param("kl_target", 1e-6...1e6, "KL per response in nats that adaptive steers to.")
    public var target = 6.0
    /// In responses.
    @Param("kl_horizon", 1.0..., "Responses over which adaptive acts.")
    public var horizon = 10_000.0

    /// What `kl_control` may say.
    public enum Control: String, CaseIterable { case fixed, adaptive }

    /// The values as declared.
    public init() {}

    /// The coefficient after a roll-out; the same where it is fixed.
    public func next(_ coef: Double, after rollout: RolloutColumns) -> Double {
        guard control == .adaptive, rollout.count > 0 else { return coef }
        return KLControl.adaptive(target: target, horizon: horizon)
            .next(coef, kl: rollout.mean(rollout.sequenceKL), count: rollout.count)
    }
}

/// Generalised advantage estimation, and what follows a response that was cut off.
public struct AdvantageEstimation: ParameterGroup {
    /// γ.
    @Param("gamma", 0.0...1.0, "γ: discount.") public var gamma = 1.0
    /// λ.
    @Param("lam", 0.0...1.0, "λ of generalised advantage estimation.") public var lam = 0.95
    /// Whether a value stands for what a cut response did not say.
    @Param("bootstrap_truncated", "Responses cut at the limit go on with the critic's value.")
    public var bootstrapsTruncated = false

    /// The values as declared.
    public init() {}

    /// Tells the host which columns that takes.
    public func need(_ call: Call) {
        if bootstrapsTruncated { ["bootstrap_values", "finished"].forEach(call.need) }
    }

    /// V(x, y) of the whole response where it was cut off, else 0: `[batch]`; nil when that is off.
    ///
    /// - Throws: `PluginError` when a column is not there.
    public func bootstrap(_ columns: Columns) throws -> [Double]? {
        guard bootstrapsTruncated, columns.has("bootstrap_values") else { return nil }
        let finished = try columns("finished").values
        return zip(try columns("bootstrap_values").values, finished).map { $1 == 0 ? $0 : 0 }
    }
}

/// The bounds of the importance ratio.
public struct RatioClip: ParameterGroup {
    /// ε below 1.
    @Param("clip_range", 0.0..., "ε: how far the ratio may fall; with clip_range_high 0: no clip.")
    public var low = 0.2
    /// ε above 1; negative: that below.
    @Param("clip_range_high", (-1.0)..., "How far the ratio may rise above 1; -1: clip_range.")
    public var highOrLow = -1.0
    /// Of the dual clip; 0: off.
    @Param("dual_clip", 0.0..., "Bounds the loss of bad tokens at this times -A; 0: off.")
    public var dual = 0.0

    /// The values as declared.
    public init() {}

    /// `clippedSurrogate` within them; advantages may be those of tokens or of responses.
    public func surrogate(
        _ ratio: Tensor, _ advantages: Tensor
    ) -> (loss: Tensor, low: Tensor, high: Tensor) {
        clippedSurrogate(
            ratio: ratio, advantages: perToken(advantages), low: low,
            high: highOrLow < 0 ? low : highOrLow, dualClip: dual)
    }
}
