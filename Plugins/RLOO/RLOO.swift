import KeelPlugin

/// REINFORCE leave-one-out: a response's advantage is its reward less the mean reward of the others.
///
/// Ahmadian et al. 2024, "Back to Basics", arXiv:2402.14740:
///
///     R_i = clip(reward_i) - β Σ_t (log π_old - log π_ref)
///     A_i = R_i - 1/(G-1) Σ_{j≠i} R_j
///     L   = -min(r A, clamp(r, 1 - ε, 1 + ε_high) A),   r = π / π_old
///
/// r is per token (default; on the first step of a roll-out its gradient is that of -A log π) or of the whole
/// response (`importance_level` sequence, as TRL has it). Summed over tokens, mean over responses. As in TRL
/// the KL enters the reward before the baseline, so that the baseline removes what all responses share.
struct RLOO: Objective, Preparing {
    static let name = "rloo"
    static let help = "REINFORCE with a leave-one-out baseline over the responses to a prompt."
    static let needs: Needs = [
        .rollouts, .logprobs, .oldLogprobs, .mask, .rewards, .group, .optional(.refLogprobs),
        .optional(.entropy),
    ]
    static let gives = ["advantages"]

    enum ImportanceLevel: String, CaseIterable { case token, sequence }

    @Param(
        "kl_coef", 0.0...,
        "Weight of the KL to the reference in the reward; 0: no reference needed.")
    var klCoef = 0.05

    @Param("reward_clip_range", "Bounds of the reward, [low, high]; []: none.")
    var rewardClipRange: [Double] = []

    @Param("normalize_advantages", "Divides advantages by their standard deviation over the batch.")
    var normalizeAdvantages = false

    @Param(
        "importance_level",
        "The ratio to the sampling policy: of each token, or of the whole response.")
    var importanceLevel = ImportanceLevel.token

    @Param(
        "clip_range", 0.0..., "How far the ratio may fall below 1; with clip_range_high 0: no clip."
    )
    var clipRange = 0.2

    @Param("clip_range_high", (-1.0)..., "How far the ratio may rise above 1; -1: clip_range.")
    var clipRangeHigh = -1.0

    func setup(_ call: Call) throws {
        if klCoef > 0 { call.need("ref_logprobs") }
        if importanceLevel == .sequence { call.need("old_seq_logprobs") }
        guard
            rewardClipRange.isEmpty
                || rewardClipRange.count == 2 && rewardClipRange[0] < rewardClipRange[1]
        else {
            throw PluginError(.invalid, "reward_clip_range is \(rewardClipRange), not [low, high]")
        }
    }

    func prepare(_ columns: Columns) throws {
        let rewards = try columns("rewards").values  // [batch]
        let group = try columns("group").values
        guard rewards.count < 2 || Set(group).count < group.count else {
            throw PluginError(
                .invalid,
                "rloo compares responses to one prompt, but every prompt has one: num_generations")
        }
        var kl: [Double]?
        if klCoef > 0 || columns.has("ref_logprobs") {
            kl = sequenceKL(
                try columns("old_logprobs"), try columns("ref_logprobs"), mask: try columns("mask"),
                estimator: .k1)
        }
        let advantages = groupAdvantages(
            rewards: rewards, group: group, sequenceKL: kl, klCoef: klCoef,
            clip: rewardClipRange.isEmpty ? nil : (rewardClipRange[0], rewardClipRange[1]),
            baseline: .leaveOneOut, scale: normalizeAdvantages ? .batch : .none)
        try columns.put("advantages", Column(advantages))

        for value in kl ?? [] { columns.metric("kl", value) }
    }

    func loss(_ rows: Rows) -> Tensor {
        let high = clipRangeHigh < 0 ? clipRange : clipRangeHigh
        let surrogate: (loss: Tensor, low: Tensor, high: Tensor)
        switch importanceLevel {
        case .token:
            surrogate = clippedSurrogate(
                ratio: importanceRatio(rows.logprobs, rows.oldLogprobs),
                advantages: rows.advantages.asColumn(),
                low: clipRange, high: high)  // [batch, time]
        case .sequence:
            surrogate = clippedSurrogate(
                ratio: importanceRatio(rows.seqLogprobs, rows.oldSeqLogprobs),
                advantages: rows.advantages,
                low: clipRange, high: high)  // [batch]
        }
        rows.metric("clip_ratio/low_mean", surrogate.low)
        rows.metric("clip_ratio/high_mean", surrogate.high)
        rows.metric("clip_ratio/region_mean", surrogate.low + surrogate.high)
        if rows.has("entropy") { rows.metric("entropy", rows.entropy) }
        return surrogate.loss
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? { plugin("keel.rloo", "1.0.0", RLOO.self) }
