import KeelPlugin

/// Proximal policy optimization of responses, with a critic.
///
/// Schulman et al. 2017, arXiv:1707.06347, equations 7 and 9; for language models Ziegler et al. 2019 and
/// Ouyang et al. 2022. Per token t of a response:
///
///     r_t = token reward - β kl_t, the score added on the last token   (kl_t: to the reference)
///     δ_t = r_t + γ V_{t+1} - V_t,   A_t = δ_t + γ λ A_{t+1},   R = A + V
///     L   = max(-ρ A, -clip(ρ, 1 - ε, 1 + ε_high) A)               ρ = π / π_old
///         + c_V / 2 max((V - R)², (clip(V, V_old ± ε_V) - R)²) - c_H H
///
/// averaged over all tokens of the step. PPO-penalty: `clip_range` 0 with `policy_kl_coef` (KL to the policy that
/// sampled) or `ref_kl_coef` (KL to the reference), both in the loss. Advantages and returns are constants.
struct PPO: Objective, Preparing, Stateful {
    static let name = "ppo"
    static let help = "Proximal policy optimization with a critic: clip, dual clip or KL penalty."
    static let needs: Needs = [
        .rollouts, .logprobs, .oldLogprobs, .mask, .values, .oldValues, .optional(.refLogprobs),
        .optional(.rewards), .optional(.tokenRewards), .optional(.entropy), .optional(.finished),
        .optional(.behaviorLogprobs), .optional(.column("bootstrap_values")),
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

    // What is optimised.
    @Param("kl_coef", 0.0..., "β: weight of the KL to the reference in the reward.")
    var klCoef = 0.05
    /// `kl_estimator`, `kl_control`, `kl_target`, `kl_horizon`.
    let klPenalty = KLPenaltyParameters()

    // Advantages.
    /// `gamma`, `lam`, `bootstrap_truncated`.
    let estimation = AdvantageEstimation()
    @Param("whiten_rewards", "Token rewards by their standard deviation over the roll-out.")
    var whitenRewards = false
    @Param("whiten_advantages", "Advantages with mean 0 and variance 1 over the roll-out.")
    var whitenAdvantages = true
    @Param("whiten_variance", "Divides by n (biased) or n - 1.") var whitenVariance = Variance
        .biased

    // The loss.
    /// `clip_range`, `clip_range_high`, `dual_clip`.
    let clip = RatioClip()
    @Param("policy_kl_coef", 0.0..., "Weight of KL(π_old, π) in the loss: PPO-penalty.")
    var policyKLCoef = 0.0
    @Param(
        "policy_kl_target", 0.0..., "Nats per token: halves or doubles policy_kl_coef; 0: fixed.")
    var policyKLTarget = 0.0
    @Param("ref_kl_coef", 0.0..., "Weight of the KL to the reference in the loss.")
    var refKLCoef = 0.0
    @Param("kl_in_loss", "The estimate of the KL of ref_kl_coef.") var klInLoss = LossKL.k2
    @Param("clip_range_value", 0.0..., "How far a value may move from the roll-out's; 0: no clip.")
    var clipRangeValue = 0.2
    @Param("vf_coef", 0.0..., "c_V: weight of the value loss.") var vfCoef = 0.1
    @Param("ent_coef", 0.0..., "c_H: weight of the entropy bonus.") var entCoef = 0.0
    @Param("sampler_correction", "Weighs tokens whose sampler was not the policy itself.")
    var samplerCorrection = SamplerCorrectionChoice.none
    @Param("sampler_clip_min", 0.0..., "Lower bound of those weights.") var samplerClipMin = 0.0
    @Param("sampler_clip_max", 0.0..., "Upper bound of those weights.") var samplerClipMax = 3.0

    @Param("critic_warmup_steps", 0..., "Steps that train the critic alone, before the policy's.")
    var criticWarmupSteps = 0

    enum Variance: String, CaseIterable { case biased, unbiased }

    /// The coefficients in force; those of the parameters until a controller has moved them.
    private var beta = 0.0
    private let penalty = PolicyPenalty()

    mutating func setup(_ call: Call) throws {
        beta = klCoef
        penalty.coef = policyKLCoef
        if klCoef > 0 || refKLCoef > 0 { call.need("ref_logprobs") }
        if entCoef > 0 { call.need("entropy") }
        if samplerCorrection != .none { call.need("behavior_logprobs") }
        estimation.need(call)
        let perBatch = call.fact("rollout_rows")
        guard klPenalty.control == .fixed || !(perBatch >= 5 * klPenalty.horizon) else {
            throw PluginError(
                .invalid,
                "kl_horizon \(klPenalty.horizon) is too short for roll-outs of \(Int(perBatch)) responses: more than \(perBatch / 5), please"
            )
        }
    }

    // MARK: - From roll-out to advantages

    mutating func prepare(_ columns: Columns) throws {
        let rollout = try RolloutColumns(columns, needsReference: klCoef > 0)
        let mask = rollout.mask
        let values = try columns("old_values")

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
        try columns.put("advantages", advantages)
        try columns.put("returns", returns)

        beta = klPenalty.next(beta, after: rollout)
        penalty.follow(policyKLTarget)
    }

    // MARK: - The loss

    func loss(_ rows: Rows) throws -> Tensor {
        if rows.phase == "critic" { return valueLoss(rows) }
        var loss = try policyLoss(rows)
        if vfCoef > 0 { loss = loss + vfCoef * valueLoss(rows) }
        if entCoef > 0 { loss = loss - entCoef * rows.entropy }
        if rows.has("entropy") { rows.metric("policy/entropy_avg", rows.entropy) }
        return loss  // [batch, time]; the host reduces
    }

    private func policyLoss(_ rows: Rows) throws -> Tensor {
        let logratio = rows.logprobs - rows.oldLogprobs
        let ratio = importanceRatio(rows.logprobs, rows.oldLogprobs)  // [batch, time]
        let surrogate = clip.surrogate(ratio, rows.advantages)
        var loss = surrogate.loss
        if let correction = samplerCorrection.correction {
            loss =
                loss
                * (try samplerWeights(
                    rows, correction, low: samplerClipMin, high: samplerClipMax))
        }
        rows.metric("loss/policy_avg", loss)
        rows.metric("policy/approxkl_avg", 0.5 * logratio.square())
        rows.metric("policy/clipfrac_avg", surrogate.low + surrogate.high)
        rows.metric("val/ratio", ratio)
        rows.metric("val/ratio_var", (ratio - 1).square())
        if policyKLCoef > 0 {
            // KL(π_old, π): unbiased under samples of π_old, and so is its gradient.
            let kl = klK3(rows.oldLogprobs, rows.logprobs)
            if policyKLTarget > 0 { try penalty.see(kl, rows) }
            rows.metric("policy/kl_to_old", kl)
            rows.metric("policy/kl_to_old_coef", penalty.coef)
            loss = loss + penalty.coef * kl
        }
        if refKLCoef > 0 {
            let kl = klInLoss(rows.logprobs, rows.refLogprobs)
            rows.metric("loss/ref_kl", kl)
            loss = loss + refKLCoef * kl
        }
        return loss
    }

    private func valueLoss(_ rows: Rows) -> Tensor {
        let value = clippedValueLoss(
            rows.values, oldValues: rows.oldValues, returns: rows.returns, range: clipRangeValue)
        rows.metric("loss/value_avg", value.loss)
        rows.metric("val/clipfrac_avg", value.clipped)
        return value.loss
    }

    // MARK: - State

    func save() -> [UInt8] {
        var writer = StateWriter()
        writer.write(beta)
        penalty.write(to: &writer)
        return writer.bytes
    }

    mutating func load(_ bytes: [UInt8], version: UInt32) throws {
        var reader = StateReader(bytes)
        beta = try reader.double()
        try penalty.read(from: &reader)
        try reader.finish()
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? { plugin("keel.ppo", "1.0.0", PPO.self) }
