import KeelPlugin

/// Reward models: a score for a response, from preferences.
///
/// Bradley-Terry, as in Ouyang et al. 2022 (arXiv:2203.02155, equation 1) and with the margin m of Llama-2
/// (arXiv:2307.09288, equation 2); r is the score at a response's last token:
///
///     L = -log σ(r_w - r_l - m) + c (r_w + r_l)²
///
/// c centres the scores around 0 (Eisenstein et al. 2023). `eps` is MOSS-RLHF's -log(σ(d) + eps), whose gradient vanishes
/// for badly wrong pairs. `lm_coef` keeps the likelihood of the chosen response in the loss.
struct RewardModel: Objective {
    static let name = "reward_model"
    static let help = "Reward model: Bradley-Terry on pairs, with margins and centring."
    static let needs: Needs = [.pairs, .scores, .optional(.margin)]
    static let heads: [Head] = [.reward]

    @Param("center_rewards_coefficient", 0.0..., "Weight of (r_w + r_l)²; 0: off, 0.01 is usual.")
    var centering = 0.0

    @Param("eps", 0.0..., "Added inside the logarithm (MOSS-RLHF: 1e-5).")
    var eps = 0.0

    @Param("lm_coef", 0.0..., "Weight of the likelihood of the chosen response.")
    var lmCoef = 0.0

    func setup(_ call: Call) throws {
        if lmCoef > 0 { call.need("chosen.mean_logprobs") }
    }

    func loss(_ pairs: Pairs) -> Tensor {
        let (chosen, rejected) = (pairs.chosen.scores, pairs.rejected.scores)
        report(pairs, chosen, rejected)

        let delta = chosen - rejected
        let z = pairs.has("margin") ? delta - pairs.margin : delta
        var loss = eps > 0 ? -(sigmoid(z) + eps).log() : softplus(-z)
        if centering > 0 { loss = loss + centering * (chosen + rejected).square() }
        if lmCoef > 0 { loss = loss - lmCoef * pairs.chosen.meanLogprobs }
        return loss
    }

    private func report(_ pairs: Pairs, _ chosen: Tensor, _ rejected: Tensor) {
        pairs.metric("accuracy", chosen > rejected)  // a tie is wrong
        pairs.metric("margin", chosen - rejected)
        pairs.metric("min_reward", min(chosen, rejected), .min)
        pairs.metric("mean_reward", 0.5 * (chosen + rejected))
        pairs.metric("max_reward", max(chosen, rejected), .max)
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? {
    plugin("keel.reward_model", "1.0.0", RewardModel.self)
}
