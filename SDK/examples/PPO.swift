import KeelPlugin

/// Proximal policy optimisation (arXiv:1707.06347) with a value head; advantages by GAE (arXiv:1506.02438).
struct PPO: Objective, Preparing {
    static let name = "ppo"
    static let help = "Proximal policy optimisation."
    static let needs: Needs = [
        .rollouts, .logprobs, .oldLogprobs, .refLogprobs, .values, .oldValues, .entropy, .rewards,
        .mask,
    ]
    static let gives = ["advantages", "returns"]
    static let heads: [Head] = [.linearValue]
    static let reduction = Reduction.tokenMean

    @Param("clip_range", 0.0...1.0, "How far the ratio may leave 1.") var clipRange = 0.2
    @Param("lam", 0.0...1.0, "GAE lambda.") var lam = 0.95
    @Param("kl_coef", 0.0...10.0, "Weight of the KL to the reference.") var klCoef = 0.05
    @Param("vf_coef", 0.0...10.0, "Weight of the value loss.") var vfCoef = 0.1
    @Param("ent_coef", 0.0...1.0, "Weight of the entropy.") var entCoef = 0.0

    /// Per token the KL to the reference, on the last one the reward; from them advantages, whitened, and returns.
    func prepare(_ columns: Columns) throws {
        let mask = try columns("mask")  // [batch, time], like all but the rewards
        let shaped = shapedRewards(
            scores: try columns("rewards").values, logprobs: try columns("old_logprobs"),
            refLogprobs: try columns("ref_logprobs"), mask: mask, klCoef: klCoef)
        let (advantages, returns) = gae(
            rewards: shaped, values: try columns("old_values"), mask: mask, gamma: 1, lam: lam)
        try columns.put("advantages", whiten(advantages, mask: mask, unbiased: true))
        try columns.put("returns", returns)
    }

    /// -min(r A, clamp(r) A) + vf_coef / 2 (V - R)² - ent_coef H, per token.
    func loss(_ rows: Rows) -> Tensor {
        let policy = clippedSurrogate(
            ratio: importanceRatio(rows.logprobs, rows.oldLogprobs), advantages: rows.advantages,
            low: clipRange, high: clipRange)
        let value = 0.5 * (rows.values - rows.returns).square()
        rows.metric("policy/clipfrac_avg", policy.low + policy.high)
        return policy.loss + vfCoef * value - entCoef * rows.entropy
    }
}
/// What the host calls first.
@c(keel_plugin_v1) public func entry() -> Entry { plugin("org.example.ppo", "1.0.0", PPO.self) }
