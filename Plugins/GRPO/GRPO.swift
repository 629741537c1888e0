import KeelPlugin

/// Group relative policy optimization: a response is judged against the others to its prompt, without a critic.
///
/// Shao et al. 2024, DeepSeekMath, arXiv:2402.03300, equations 3 and 4:
///
///     A_i = (R_i - mean R) / (std R + 1e-4)                       over the responses to one prompt
///     L   = -min(c A, clip(c, 1 - ε, 1 + ε_high) A) + β KL(π, π_ref),    c = π / π_old
///
/// `loss_type` names the relative: `grpo` averages per response, `bnpo` and `dapo` (Yu et al. 2025,
/// arXiv:2503.14476) over tokens, `dr_grpo` (Liu et al. 2025, arXiv:2503.20783; with `scale_rewards` none) over the
/// longest possible length, `cispo` (MiniMax 2025, arXiv:2506.13585) weighs log π by the stopped ratio, `sapo` gates it
/// by a sigmoid. With `importance_level` sequence c is the geometric mean of a response's ratios (GSPO, Zheng et al.
/// 2025, arXiv:2507.18071). `delta` bounds the ratio of bad responses from above (two-sided clip).
struct GRPO: Objective, Preparing {
    static let name = "grpo"
    static let help = "Group relative policy optimization: GRPO, Dr.GRPO, DAPO, GSPO, CISPO, SAPO."
    static let needs: Needs = [
        .rollouts, .logprobs, .oldLogprobs, .mask, .rewards, .group, .optional(.refLogprobs),
        .optional(.entropy), .optional(.behaviorLogprobs), .optional(.finished),
    ]
    static let gives = ["advantages", "weight", "entropy_threshold"]

    @Param("loss_type", "The loss of a token, and how tokens are averaged.")
    var lossType = LossType.dapo
    @Param("importance_level", "The ratio to the sampling policy: per token, or per response.")
    var importanceLevel = ImportanceLevel.token
    @Param(
        "scale_rewards", "What advantages are divided by: the deviation in the group, the batch.")
    var scaleRewards = Scale.group

    @Param("clip_range", 0.0..., "ε: how far the ratio may fall; with clip_range_high 0: no clip.")
    var clipRange = 0.2
    @Param("clip_range_high", (-1.0)..., "How far the ratio may rise above 1; -1: clip_range.")
    var clipRangeHigh = -1.0
    @Param("delta", 0.0..., "Upper bound of the ratio beside the clip (two-sided); 0: none.")
    var delta = 0.0
    @Param("ratio_max", 0.0..., "cispo: upper bound of the ratio that weighs log π.")
    var ratioMax = 5.0
    @Param("sapo_temperature_pos", 1e-6...1e6, "sapo: steepness of the gate where A > 0.")
    var sapoTemperaturePos = 1.0
    @Param("sapo_temperature_neg", 1e-6...1e6, "sapo: steepness of the gate elsewhere.")
    var sapoTemperatureNeg = 1.05

    @Param("kl_coef", 0.0..., "β: weight of the KL to the reference in the loss.") var klCoef = 0.0
    @Param("kl_in_loss", "The estimate of that KL; k2 has its gradient.") var klInLoss = LossKL.k3
    @Param("use_bias_correction_kl", "Weighs that KL by the ratio, which mends k3's gradient.")
    var useBiasCorrectionKL = false
    @Param("ent_coef", 0.0..., "Weight of an entropy bonus.") var entCoef = 0.0

    @Param("top_entropy_quantile", 0.0...1.0, "The share of tokens, by entropy, that is trained.")
    var topEntropyQuantile = 1.0
    @Param(
        "off_policy_mask_threshold", "Drops bad responses this far from the sampler; null: none.")
    var offPolicyMaskThreshold: Double? = nil
    @Param("mask_truncated_completions", "Leaves out responses cut at the length limit (DAPO).")
    var maskTruncatedCompletions = false
    @Param("sampler_correction", "Weighs tokens whose sampler was not the policy itself.")
    var samplerCorrection = SamplerCorrectionChoice.none
    @Param("sampler_clip_min", 0.0..., "Lower bound of those weights.") var samplerClipMin = 0.0
    @Param("sampler_clip_max", 0.0..., "Upper bound of those weights.") var samplerClipMax = 3.0

    enum ImportanceLevel: String, CaseIterable { case token, sequence }
    enum Scale: String, CaseIterable { case group, batch, none }
    enum LossType: String, CaseIterable {
        case grpo, bnpo, dapo, cispo, sapo
        case drGRPO = "dr_grpo"
    }

    func setup(_ call: Call) throws {
        switch lossType {
        case .grpo, .sapo: call.reduce(.rowMeanOfTokenMean)
        case .bnpo, .dapo, .cispo: call.reduce(.tokenMean)
        case .drGRPO:
            // Rows of a step times the longest possible response, whatever was sampled.
            let cells = call.fact("rows_per_step") * call.fact("max_completion_length")
            call.reduce(.constant, constant: cells.isFinite ? cells : 0)
        }
        if klCoef > 0 { call.need("ref_logprobs") }
        if entCoef > 0 || topEntropyQuantile < 1 { call.need("entropy") }
        if samplerCorrection != .none || offPolicyMaskThreshold != nil {
            call.need("behavior_logprobs")
        }
    }

    // MARK: - From roll-out to advantages

    func prepare(_ columns: Columns) throws {
        let rewards = try columns("rewards").values  // [batch]
        let group = try columns("group").values
        guard rewards.count < 2 || Set(group).count < group.count else {
            throw PluginError(
                .invalid,
                "grpo compares responses to one prompt, but every prompt has one: num_generations")
        }
        let scale: AdvantageScale =
            switch scaleRewards {
            case .group: .group
            case .batch: .batch
            case .none: .none
            }
        let advantages = groupAdvantages(
            rewards: rewards, group: group, baseline: .mean, scale: scale)
        try columns.put("advantages", Column(advantages))

        var weight = columns.has("weight") ? try columns("weight").values : rewards.map { _ in 1 }
        if maskTruncatedCompletions, columns.has("finished") {
            let finished = try columns("finished").values
            weight = zip(weight, finished).map { $1 == 0 ? 0 : $0 }
        }
        try columns.put("weight", Column(weight))
        let threshold = try entropyThreshold(columns)
        try columns.put("entropy_threshold", Column(rewards.map { _ in threshold }))
    }

    /// The entropy that a token must have to be trained, over the whole roll-out.
    private func entropyThreshold(_ columns: Columns) throws -> Double {
        guard topEntropyQuantile < 1, columns.has("entropy") else { return -.infinity }
        let cells = zip(try columns("entropy").values, try columns("mask").values)
        return quantile(1 - topEntropyQuantile, of: cells.filter { $1 != 0 }.map(\.0))
    }

    // MARK: - The loss

    func loss(_ rows: Rows) throws -> Tensor {
        let ratio = importanceRatio(rows)  // [batch, time]
        var loss = policyLoss(rows, ratio, perToken(rows.advantages))
        if topEntropyQuantile < 1 { loss = loss * (try entropyMask(rows)) }
        if let threshold = offPolicyMaskThreshold {
            loss = loss * offPolicyMask(rows, threshold).asColumn()
        }
        if let correction = samplerCorrection.correction {
            loss =
                loss
                * (try samplerWeights(
                    rows, correction, low: samplerClipMin, high: samplerClipMax))
        }
        if rows.has("ref_logprobs") {
            let kl = klInLoss(rows.logprobs, rows.refLogprobs)
            rows.metric("kl", kl)
            if klCoef > 0 { loss = loss + klCoef * (useBiasCorrectionKL ? kl * ratio : kl) }
        }
        if entCoef > 0 { loss = loss - entCoef * rows.entropy }
        if rows.has("entropy") { rows.metric("entropy", rows.entropy) }
        return loss
    }

    /// c: π / π_old of each token, or the geometric mean of a response's on each of its tokens.
    private func importanceRatio(_ rows: Rows) -> Tensor {
        guard importanceLevel == .sequence else {
            return KeelPlugin.importanceRatio(rows.logprobs, rows.oldLogprobs)
        }
        let mean = maskedMean(rows.logprobs - rows.oldLogprobs, rows.mask)  // [batch]
        return mean.clamped(-20, 20).exp().asColumn().broadcast(rows.mask.shape ?? [])
    }

    private func policyLoss(_ rows: Rows, _ ratio: Tensor, _ advantages: Tensor) -> Tensor {
        switch lossType {
        case .cispo:
            rows.metric("cispo_clip_ratio", (ratio > ratioMax) * (advantages > 0))
            return -ratio.clamped(0, ratioMax).detached() * advantages * rows.logprobs
        case .sapo:
            let gate = { (tau: Double) in sigmoid(tau * (ratio - 1)) * (4 / tau) }
            return -advantages
                * select(advantages > 0, gate(sapoTemperaturePos), gate(sapoTemperatureNeg))
        case .grpo, .bnpo, .dapo, .drGRPO:
            let high = clipRangeHigh < 0 ? clipRange : clipRangeHigh
            let surrogate = clippedSurrogate(
                ratio: ratio, advantages: advantages, low: clipRange, high: high)
            report(rows, surrogate.low, surrogate.high)
            guard delta > 0 else { return surrogate.loss }
            // min(c, δ) in place of c: where A < 0 the loss stays below -δ A.
            let free = ratio.clamped(0, delta) * advantages
            guard clipRange > 0 || high > 0 else { return -free }
            return -min(free, ratio.clamped(1 - clipRange, 1 + high) * advantages)
        }
    }

    /// 1 where the entropy is among the highest; the threshold is the roll-out's, else the micro-batch's.
    private func entropyMask(_ rows: Rows) throws -> Tensor {
        if rows.has("entropy_threshold") {
            return rows.entropy.detached() - rows.column("entropy_threshold").asColumn() >= 0
        }
        let cells = zip(try rows.entropy.values().values, try rows.mask.values().values)
        let threshold = quantile(1 - topEntropyQuantile, of: cells.filter { $1 != 0 }.map(\.0))
        return rows.entropy.detached() >= threshold
    }

    /// 0 for responses with A < 0 that the policy has moved away from (DeepSeek-V3.2): `[batch]`.
    private func offPolicyMask(_ rows: Rows, _ threshold: Double) -> Tensor {
        let moved = maskedMean(rows.behaviorLogprobs - rows.logprobs.detached(), rows.mask)
        let advantages = rows.advantages
        let response =
            advantages.shape?.count == 1 ? advantages : maskedMean(advantages, rows.mask)
        let dropped = (response < 0) * (moved > threshold)
        rows.metric("off_policy_mask_ratio", dropped)
        return 1 - dropped
    }

    private func report(_ rows: Rows, _ low: Tensor, _ high: Tensor) {
        rows.metric("clip_ratio/low_mean", low)
        rows.metric("clip_ratio/low_min", maskedMean(low, rows.mask), .min)
        rows.metric("clip_ratio/high_mean", high)
        rows.metric("clip_ratio/high_max", maskedMean(high, rows.mask), .max)
        rows.metric("clip_ratio/region_mean", low + high)
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? { plugin("keel.grpo", "1.0.0", GRPO.self) }
