import KeelPlugin

// What A-LoL is compared with in its paper (section 3): likelihood weighted by the reward R ≥ 0 itself.

/// What the baselines share: rewards that are checked, over all rows, before anything is trained.
protocol RewardWeighted: Objective, Preparing where Batch == Rows {
    var rewardShift: Double { get }
}

extension RewardWeighted {
    static var gives: [String] { [] }
    static var scope: PrepareScope { .dataset }

    /// A negative weight would push the likelihood of a response down without end.
    func prepare(_ columns: Columns) throws {
        let rewards = try checkedRewards(columns)
        guard let worst = rewards.min(), worst + rewardShift < 0 else { return }
        let row = rewards.firstIndex(of: worst) ?? 0
        throw PluginError(
            .invalid,
            "row \(row) has the reward \(worst), and \(Self.name) needs rewards of 0 and more: set "
                + "reward_shift to \(-worst), or data.reward_transform to \"sigmoid\"")
    }

    /// R, `[batch]`.
    func weights(_ rows: Rows) -> Tensor {
        let weights = rows.rewards + rewardShift
        rows.metric("reward", rows.rewards)
        return weights
    }
}

/// Weighted behaviour cloning.
///
///     L = -R log πθ(y|x)
struct WBC: RewardWeighted {
    static let name = "wbc"
    static let help = "Weighted behaviour cloning: likelihood weighted by the reward."
    static let needs: Needs = [.scored, .seqLogprobs, .rewards]

    @Param("reward_shift", 0.0..., "Added to every reward, which must not be negative then.")
    var rewardShift = 0.0

    func loss(_ rows: Rows) -> Tensor {
        -weights(rows) * rows.seqLogprobs  // [batch]
    }
}

/// Reward-GOLD: each token weighted by reward and its own probability, as far as that is above a floor.
///
///     L = -R Σ_t max(sg[πθ(y_t)], u) log πθ(y_t)
///
/// The weight is the current policy's, not that of a copy; with R = 1 this is GOLD-δ of Pang & He (see gold).
struct RGOLD: RewardWeighted {
    static let name = "rgold"
    static let help = "Reward-GOLD: likelihood weighted by the reward and each token's probability."
    static let needs: Needs = [.scored, .logprobs, .rewards]

    @Param("iw_min", 0.0...1.0, "Floor of the probability that weighs a token.")
    var iwMin = 0.1
    @Param("reward_shift", 0.0..., "Added to every reward, which must not be negative then.")
    var rewardShift = 0.0

    func loss(_ rows: Rows) -> Tensor {
        let probability = exp(rows.logprobs.detached())  // [batch, time]
        rows.metric("rgold/floor_fraction", probability < iwMin)
        let weight = probability.clamped(iwMin, .infinity)
        return -weights(rows).asColumn() * weight * rows.logprobs
    }
}

/// Reward LoL: A-LoL with the reward in place of the advantage.
///
///     L = -R clip(ρ, 1 - ε, 1 + ε) log πθ(y|x)
///     L = -R log πθ(y|x) + β (log πθ(y|x) - log π_ref(y|x))     with kl_coef β > 0
struct RLOL: RewardWeighted {
    static let name = "rlol"
    static let help = "Reward LoL: likelihood weighted by the reward and the importance ratio."
    static let needs: Needs = [.scored, .seqLogprobs, .refSeqLogprobs, .rewards]

    @Param("clip_range", 0.0..., "Bounds of the ratio, 1 - c and 1 + c; 0: only capped at e^20.")
    var clipRange = 0.9
    @Param("kl_coef", 0.0..., "Weight of a penalty on the log-ratio instead of the ratio; 0: off.")
    var klCoef = 0.0
    @Param("reward_shift", 0.0..., "Added to every reward, which must not be negative then.")
    var rewardShift = 0.0

    func loss(_ rows: Rows) -> Tensor {
        let logratio = rows.seqLogprobs - rows.refSeqLogprobs  // [batch]
        if klCoef > 0 {
            rows.metric("rlol/kl_penalty", klCoef * logratio)
            return -weights(rows) * rows.seqLogprobs + klCoef * logratio
        }
        let ratio = ImportanceRatio(logratio, clip: clipRange)
        ratio.report(rows, "rlol")
        return -weights(rows) * ratio.value * rows.seqLogprobs
    }
}
