import KeelPlugin

/// PPO-max: the set of PPO's tricks that kept training from collapsing.
///
/// Zheng et al. 2023, "Secrets of RLHF in Large Language Models Part I: PPO", arXiv:2307.04964, section 5:
///
///     s   = clip((score - mean) / std, ±δ)                          running moments of all scores so far
///     r_t = -β (log π_old - log π_ref), s added on the last token
///     A   = GAE(r, V),   R = A + V                                   not whitened
///     L   = max(-ρ A, -clip(ρ, 1 ± ε) A) + c_V / 2 max((V - R)², (clip(V, V_old ± ε_V) - R)²)
///
/// averaged over all tokens, after a phase that trains the critic alone. Each trick of figure 5 is a parameter and
/// has a metric of its own. `preset` says whose values the open ones take: `ppo-max` the paper's,
/// `ppo-max-released` those of the published scripts, which divide scores by their deviation, clip none and have no
/// critic phase.
struct PPOMax: Objective, Preparing, Stateful {
    static let name = "ppo_max"
    static let help = "PPO with the tricks that keep it stable (PPO-max), each one a parameter."
    static let needs: Needs = [
        .rollouts, .logprobs, .oldLogprobs, .mask, .values, .oldValues, .optional(.refLogprobs),
        .optional(.rewards), .optional(.tokenRewards), .optional(.entropy), .optional(.finished),
        .optional(.column("bootstrap_values")),
    ]
    static let gives = ["shaped_rewards", "advantages", "returns"]
    static let heads: [Head] = [.critic]
    static let reduction = Reduction.tokenMean
    static let phases: [Phase] = [
        Phase(
            "critic",
            needs: [
                .rollouts, .oldLogprobs, .mask, .values, .oldValues, .optional(.refLogprobs),
                .optional(.rewards), .optional(.tokenRewards), .optional(.finished),
                .optional(.column("bootstrap_values")),
            ],
            trains: [.critic], steps: "critic_warmup_steps"),
        Phase("policy", trains: [.policy, .critic]),
    ]

    @Param("preset", "Whose values the parameters take that are null.") var preset = Preset.paper

    // Figure 5, reward side: the KL penalty, scores by running moments.
    @Param(
        "kl_coef", "β: weight of the KL to the reference in the reward; null: 0.05, released 0.01.")
    var klCoef: Double? = nil
    /// `kl_estimator`, `kl_control`, `kl_target`, `kl_horizon`.
    let klPenalty = KLPenaltyParameters()
    @Param(
        "reward_scaling",
        "none, scale (score / std) or normalize ((score - mean) / std); null: normalize, released scale."
    )
    var rewardScaling: String? = nil
    @Param("reward_clip", "δ: bound of the scaled score, 0: none; null: 0.8, released 0.")
    var rewardClip: Double? = nil
    @Param("whiten_rewards", "Token rewards by their standard deviation over the roll-out.")
    var whitenRewards = false

    // Advantages.
    /// `gamma`, `lam`, `bootstrap_truncated`.
    let estimation = AdvantageEstimation()
    @Param("whiten_advantages", "Advantages with mean 0 and variance 1 over the roll-out.")
    var whitenAdvantages = false
    @Param("whiten_variance", "Divides by n (biased) or n - 1.") var whitenVariance = Variance
        .biased
    @Param("advantage_clip", 0.0..., "Bound of advantages; 0: none. Not with clip_range_value.")
    var advantageClip = 0.0

    // The loss.
    @Param("importance_sampling", "Ratios to the reference policy instead of the one that sampled.")
    var importanceSampling = false
    /// `clip_range`, `clip_range_high`, `dual_clip`.
    let clip = RatioClip()
    @Param("clip_range_value", 0.0..., "How far a value may move from the roll-out's; 0: no clip.")
    var clipRangeValue = 0.2
    @Param("vf_coef", 0.0..., "c_V: weight of the value loss.") var vfCoef = 1.0
    @Param("ent_coef", 0.0..., "Weight of the entropy term.") var entCoef = 0.0
    @Param(
        "entropy_clip", 0.0..., "Entropy that |mean H - entropy_clip| pulls to; 0: a plain bonus.")
    var entropyClip = 0.0

    @Param("critic_warmup_steps", 0..., "Steps that train the critic alone; released: 0.")
    var criticWarmupSteps = 50

    enum Preset: String, CaseIterable {
        case paper = "ppo-max"
        case released = "ppo-max-released"
    }
    enum Variance: String, CaseIterable { case biased, unbiased }

    private var scaling = ScoreScaling.normalize
    private var scoreClip = 0.0
    /// The coefficient in force, and the moments of all scores so far.
    private var beta = 0.0
    private var moments = RunningMoments()

    mutating func setup(_ call: Call) throws {
        let isPaper = preset == .paper
        beta = klCoef ?? (isPaper ? 0.05 : 0.01)
        scoreClip = rewardClip ?? (isPaper ? 0.8 : 0)
        let mode = rewardScaling ?? (isPaper ? "normalize" : "scale")
        guard let known = ScoreScaling(rawValue: mode) else {
            throw PluginError(
                .invalid, "reward_scaling is \"\(mode)\", not one of none, scale, normalize")
        }
        guard beta >= 0, scoreClip >= 0, beta.isFinite, scoreClip.isFinite else {
            throw PluginError(
                .invalid, "kl_coef \(beta) and reward_clip \(scoreClip) must be 0 or more")
        }
        scaling = known
        if beta > 0 || importanceSampling { call.need("ref_logprobs") }
        if entCoef > 0 { call.need("entropy") }
        estimation.need(call)
        if !isPaper, criticWarmupSteps > 0 {
            call.log(
                "ppo-max-released has no critic phase: critic_warmup_steps is \(criticWarmupSteps), set it to 0",
                warning: true)
        }
    }

    // MARK: - From roll-out to advantages

    mutating func prepare(_ columns: Columns) throws {
        var rollout = try RolloutColumns(columns, needsReference: beta > 0)
        let mask = rollout.mask
        let values = try columns("old_values")

        reportScores(columns, rollout, "reward_scaling/before")
        rollout.scale(scaling, by: &moments, clip: scoreClip)
        reportScores(columns, rollout, "reward_scaling/after")
        columns.metric("reward_scaling/running_mean", moments.mean)
        columns.metric("reward_scaling/running_std", moments.std)
        if scoreClip > 0 {
            let held = rollout.scores.map { abs($0) >= scoreClip ? 1.0 : 0 }
            columns.metric("reward_clip/fraction", rollout.mean(held))
        }

        // [batch, time]
        var rewards = rollout.tokenRewards(klCoef: beta, estimator: klPenalty.estimator)
        rollout.report(klCoef: beta, rewards: rewards)
        try columns.put("shaped_rewards", rewards)

        let isUnbiased = whitenVariance == .unbiased
        if whitenRewards {
            rewards = whiten(rewards, mask: mask, unbiased: isUnbiased, shift: false)
        }
        var (advantages, returns) = gae(
            rewards: rewards, values: values, mask: mask, gamma: estimation.gamma,
            lam: estimation.lam, bootstrap: try estimation.bootstrap(columns))
        columns.metric(
            "val/var_explained", explainedVariance(values: values, returns: returns, mask: mask))
        if whitenAdvantages { advantages = whiten(advantages, mask: mask, unbiased: isUnbiased) }
        if advantageClip > 0 {
            let inside = mask.values.indices.filter { mask.values[$0] != 0 }
            let held = inside.count { abs(advantages.values[$0]) > advantageClip }
            columns.metric(
                "advantage_clip/fraction", Double(held) / Double(Swift.max(1, inside.count)))
            advantages.values = advantages.values.map {
                Swift.min(Swift.max($0, -advantageClip), advantageClip)
            }
        }
        try columns.put("advantages", advantages)
        try columns.put("returns", returns)

        beta = klPenalty.next(beta, after: rollout)
    }

    private func reportScores(_ columns: Columns, _ rollout: RolloutColumns, _ name: String) {
        let mean = rollout.mean(rollout.scores)
        columns.metric("\(name)_mean", mean)
        let squares = rollout.scores.map { ($0 - mean) * ($0 - mean) }
        columns.metric("\(name)_std", rollout.mean(squares).squareRoot())
    }

    // MARK: - The loss

    func loss(_ rows: Rows) throws -> Tensor {
        if rows.phase == "critic" { return valueLoss(rows) }
        var loss = policyLoss(rows)
        if vfCoef > 0 { loss = loss + vfCoef * valueLoss(rows) }
        if entCoef > 0 { loss = loss + entCoef * (try entropyTerm(rows)) }
        if rows.has("entropy") { rows.metric("policy/entropy_avg", rows.entropy) }
        return loss  // [batch, time]; the host reduces
    }

    private func policyLoss(_ rows: Rows) -> Tensor {
        let old = importanceSampling ? rows.refLogprobs : rows.oldLogprobs
        let ratio = importanceRatio(rows.logprobs, old)  // [batch, time]
        let surrogate = clip.surrogate(ratio, rows.advantages)
        rows.metric("loss/policy_avg", surrogate.loss)
        rows.metric("policy/approxkl_avg", 0.5 * (rows.logprobs - rows.oldLogprobs).square())
        rows.metric("policy/clipfrac_avg", surrogate.low + surrogate.high)
        rows.metric("val/ratio", ratio)
        rows.metric("val/ratio_var", (ratio - 1).square())
        return surrogate.loss
    }

    private func valueLoss(_ rows: Rows) -> Tensor {
        let value = clippedValueLoss(
            rows.values, oldValues: rows.oldValues, returns: rows.returns, range: clipRangeValue)
        rows.metric("loss/value_avg", value.loss)
        rows.metric("val/clipfrac_avg", value.clipped)
        return value.loss
    }

    /// -H, or the slope of |mean H - entropy_clip| over the micro-batch, as the release has it.
    private func entropyTerm(_ rows: Rows) throws -> Tensor {
        var term = -rows.entropy
        if entropyClip > 0 {
            let mean = try rows.entropy.mean(mask: rows.mask).values().values[0]
            term = (mean < entropyClip ? -1.0 : 1) * (rows.entropy - entropyClip)
        }
        rows.metric("loss/entropy_avg", term)
        return term
    }

    // MARK: - State

    func save() -> [UInt8] {
        var writer = StateWriter()
        writer.write(beta)
        moments.write(to: &writer)
        return writer.bytes
    }

    mutating func load(_ bytes: [UInt8], version: UInt32) throws {
        var reader = StateReader(bytes)
        beta = try reader.double()
        moments = try RunningMoments(from: &reader)
        try reader.finish()
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? { plugin("keel.ppo-max", "1.0.0", PPOMax.self) }
