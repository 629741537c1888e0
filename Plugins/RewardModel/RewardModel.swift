import KeelPlugin

/// Reward models: a score r for a response, at its last token.
///
///     pairwise:    L = -log σ(r_w - r_l - m) + c (r_w + r_l)²
///     ranked:      L = mean over all pairs i above j of a list of -log σ(r_i - r_j)
///     binary:      L = -y log σ(r) - (1 - y) log(1 - σ(r))        y: wanted or not
///     regression:  L = (r - R)²                                   R: the reward of the data
///
/// Bradley-Terry on pairs with Llama-2's margin m (arXiv:2307.09288, equation 2) or on all pairs of a ranked list, K choose 2,
/// each list counting once (Ouyang et al. 2022, arXiv:2203.02155, equation 1). c centres the scores around 0 (Eisenstein et
/// al. 2023). `eps` is MOSS-RLHF's -log(σ(d) + eps), whose gradient vanishes for badly wrong pairs.
struct RewardModel: Objective {
    static let name = "reward_model"
    static let help = "Reward model on pairs, ranked lists, labels or rewards."
    static let needs: Needs = [.pairs, .optional(.scores), .optional(.margin)]
    static let heads: [Head] = [.reward]

    /// What is learned from; each has its kind of data.
    enum LossType: String, CaseIterable { case pairwise, ranked, binary, regression }

    @Param(
        "loss_type", "Rows: pairwise: pairs; ranked: lists; binary: labels; regression: rewards.")
    var lossType = LossType.pairwise

    @Param("center_rewards_coefficient", 0.0..., "Weight of (r_w + r_l)²; 0: off, 0.01 is usual.")
    var centering = 0.0

    @Param("eps", 0.0..., "Added inside the logarithm (MOSS-RLHF: 1e-5).")
    var eps = 0.0

    @Param("lm_coef", 0.0..., "pairwise: weight of the likelihood of the chosen response.")
    var lmCoef = 0.0

    func setup(_ call: Call) throws {
        let needs: [String] =
            switch lossType {
            case .pairwise: ["chosen.scores", "rejected.scores"]
            case .ranked: ["ranked", "scores", "rank", "valid"]
            case .binary: ["unpaired", "scores", "label"]
            case .regression: ["scored", "scores", "rewards"]
            }
        needs.forEach(call.need)
        if lossType == .pairwise, lmCoef > 0 { call.need("chosen.mean_logprobs") }
    }

    func loss(_ batch: AnyBatch) -> Tensor {
        switch lossType {
        case .pairwise: pairwise(batch.pairs)
        case .ranked: ranked(batch.ranked)
        case .binary: binary(batch.rows)
        case .regression: regression(batch.rows)
        }
    }

    /// -log σ(d), or MOSS-RLHF's form of it.
    private func preference(_ delta: Tensor) -> Tensor {
        eps > 0 ? -(sigmoid(delta) + eps).log() : softplus(-delta)
    }

    private func pairwise(_ pairs: Pairs) -> Tensor {
        let (chosen, rejected) = (pairs.chosen.scores, pairs.rejected.scores)
        let delta = chosen - rejected  // [batch]
        pairs.metric("accuracy", delta > 0)  // a tie is wrong
        pairs.metric("margin", delta)
        report(pairs, least: min(chosen, rejected), most: max(chosen, rejected))
        pairs.metric("mean_reward", 0.5 * (chosen + rejected))

        var loss = preference(pairs.has("margin") ? delta - pairs.margin : delta)
        if centering > 0 { loss = loss + centering * (chosen + rejected).square() }
        if lmCoef > 0 { loss = loss - lmCoef * pairs.chosen.meanLogprobs }
        return loss
    }

    private func ranked(_ lists: Ranked) -> Tensor {
        let (scores, valid) = (lists.column("scores"), lists.valid)  // [batch, candidates]
        guard let size = scores.shape?.last else { return scores }
        let (upper, lower) = ([-1, size, 1], [-1, 1, size])
        let isAbove =
            (lists.rank.reshaped(upper) < lists.rank.reshaped(lower)) * valid.reshaped(upper)
            * valid.reshaped(lower)  // [batch, i, j]
        let delta = scores.reshaped(upper) - scores.reshaped(lower)
        let flat = [-1, size * size]
        let (pairs, counts) = (delta.reshaped(flat), isAbove.reshaped(flat))

        lists.metric("accuracy", (pairs > 0).mean(axis: -1, mask: counts))
        lists.metric("margin", pairs.mean(axis: -1, mask: counts))
        lists.metric("mean_reward", scores.mean(axis: -1, mask: valid))
        report(
            lists, least: scores.min(axis: -1, mask: valid), most: scores.max(axis: -1, mask: valid)
        )
        let loss = preference(pairs).mean(axis: -1, mask: counts)
        guard centering > 0 else { return loss }
        return loss + centering * scores.square().mean(axis: -1, mask: valid)
    }

    private func binary(_ rows: Rows) -> Tensor {
        let isWanted = rows.label > 0
        rows.metric("accuracy", select(isWanted, rows.scores > 0, rows.scores < 0))
        rows.metric("mean_reward", rows.scores)
        report(rows, least: rows.scores, most: rows.scores)
        return preference(select(isWanted, rows.scores, -rows.scores))
    }

    private func regression(_ rows: Rows) -> Tensor {
        let error = rows.scores - rows.rewards
        rows.metric("mean_error", error)
        rows.metric("mean_reward", rows.scores)
        report(rows, least: rows.scores, most: rows.scores)
        return error.square()
    }

    private func report(_ batch: some BatchView, least: Tensor, most: Tensor) {
        batch.metric("min_reward", least, .min)
        batch.metric("max_reward", most, .max)
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? {
    plugin("keel.reward_model", "1.0.0", RewardModel.self)
}
