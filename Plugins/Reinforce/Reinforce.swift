import KeelPlugin

/// REINFORCE: the log-probability of a response, weighted by how much better than a baseline it was.
///
/// Williams 1992; for language models Ahmadian et al. 2024, arXiv:2402.14740, section 3:
///
///     R_i = reward_i - β Σ_t (log π_old - log π_ref),   A_t = R_i - b
///     L   = -Σ_t A_t log π(y_t)                          mean over responses
///
/// The baseline b makes the method: `none`, `batch_mean`, `moving_average` (before this batch's mean enters it),
/// `value` (a head on the prompt, trained by (V - R)² / 2), `group_mean` (REINFORCE++-baseline), `greedy` (ReMax,
/// Li et al. 2023, arXiv:2310.10505: the reward of the likeliest response), `length_weighted` (OPO, Hao et al. 2025).
/// With `returns` to_go A_t holds the rewards from token t on; with `whiten_advantages` that is REINFORCE++
/// (Hu 2025, arXiv:2501.03262). Advantages are constants.
struct Reinforce: Objective, Preparing, Stateful {
    static let name = "reinforce"
    static let help = "REINFORCE with a choice of baselines; REINFORCE++, ReMax and OPO."
    static let needs: Needs = [
        .rollouts, .logprobs, .mask, .rewards, .oldLogprobs, .group, .optional(.refLogprobs),
        .optional(.tokenRewards), .optional(.entropy), .optional(.column("greedy_rewards")),
    ]
    static let gives = ["advantages", "returns"]
    static let heads: [Head] = [.mlpPoolValue]

    @Param("kl_coef", 0.0..., "β: weight of the KL to the reference in the reward.")
    var klCoef = 0.05
    @Param("baseline", "What is subtracted from a response's reward.")
    var baseline = Choice.batchMean
    @Param("baseline_init", "Where moving_average starts.") var baselineInit = 0.0
    @Param("baseline_decay", 0.0...1.0, "The share of itself that moving_average keeps.")
    var baselineDecay = 0.9
    @Param("vf_coef", 0.0..., "Weight of the loss of the value that value subtracts.")
    var vfCoef = 1.0
    @Param("returns", "The same for all tokens (response), or the rewards from each token on.")
    var returns = Returns.response
    @Param("gamma", 0.0...1.0, "γ: discount of to_go.") var gamma = 1.0
    @Param("whiten_advantages", "Advantages with mean 0 and variance 1 over the tokens.")
    var whitenAdvantages = false
    @Param("clip_range", 0.0..., "Clips the ratio to the sampling policy as PPO does; 0: no ratio.")
    var clipRange = 0.0
    @Param("ent_coef", 0.0..., "Weight of an entropy bonus.") var entCoef = 0.0

    enum Choice: String, CaseIterable {
        case none, value, greedy
        case batchMean = "batch_mean"
        case movingAverage = "moving_average"
        case groupMean = "group_mean"
        case lengthWeighted = "length_weighted"
    }
    enum Returns: String, CaseIterable {
        case response
        case toGo = "to_go"
    }

    /// The moving average so far.
    private var average = 0.0

    mutating func setup(_ call: Call) throws {
        average = baselineInit
        if klCoef > 0 { call.need("ref_logprobs") }
        if entCoef > 0 { call.need("entropy") }
        if baseline == .value { call.need("seq_values") }
        if baseline == .greedy { call.need("greedy_rewards") }
    }

    // MARK: - From roll-out to advantages

    mutating func prepare(_ columns: Columns) throws {
        let rollout = try RolloutColumns(columns, needsReference: klCoef > 0)
        let total = rollout.totals(klCoef: klCoef)  // R, [batch]
        let base = try baselines(columns, rollout, total)
        try columns.put("returns", Column(total))

        var advantages = Column(zip(total, base).map(-))  // [batch]
        if returns == .toGo {
            let rewards = rollout.tokenRewards(klCoef: klCoef)
            advantages = returnsToGo(rewards, mask: rollout.mask, gamma: gamma, baseline: base)
        }
        if whitenAdvantages {
            advantages = whiten(spread(advantages, over: rollout.mask), mask: rollout.mask)
        }
        try columns.put("advantages", advantages)
        if rollout.hasReference { columns.metric("kl", rollout.mean(rollout.sequenceKL)) }
        columns.metric("baseline", rollout.mean(base))
    }

    /// b of each response: `[batch]`.
    private mutating func baselines(
        _ columns: Columns, _ rollout: RolloutColumns, _ total: [Double]
    ) throws -> [Double] {
        let mean = rollout.mean(total)
        switch baseline {
        case .none: return total.map { _ in 0 }
        case .batchMean: return total.map { _ in mean }
        case .movingAverage:
            let before = average
            if rollout.count > 0 {
                average = baselineDecay * average + (1 - baselineDecay) * mean
            }
            return total.map { _ in before }
        case .value: return try columns("seq_values").values
        case .greedy: return try columns("greedy_rewards").values
        case .groupMean, .lengthWeighted:
            let group = try columns("group").values
            guard total.count < 2 || Set(group).count < group.count else {
                throw PluginError(
                    .invalid,
                    "the baseline compares responses to one prompt, but every prompt has one: num_generations"
                )
            }
            let width = rollout.mask.shape.last ?? 0
            let lengths = total.indices.map { row in
                Double((row * width..<(row + 1) * width).count { rollout.mask.values[$0] != 0 })
            }
            let counted = zip(total, rollout.isLive).map { $1 ? $0 : .nan }
            let advantages = groupAdvantages(
                rewards: counted, group: group, lengths: lengths,
                baseline: baseline == .groupMean ? .mean : .lengthWeighted, scale: .none)
            return zip(total, advantages).map(-)
        }
    }

    /// A number per response on each of its tokens: `[batch, time]`.
    private func spread(_ column: Column, over mask: Column) -> Column {
        guard column.shape.count == 1 else { return column }
        let width = mask.shape.last ?? 0
        return Column(
            mask.values.indices.map { mask.values[$0] == 0 ? 0 : column.values[$0 / width] },
            shape: mask.shape)
    }

    // MARK: - The loss

    func loss(_ rows: Rows) -> Tensor {
        let advantages = perToken(rows.advantages)
        var loss = -advantages * rows.logprobs  // [batch, time]
        if clipRange > 0 {
            let surrogate = clippedSurrogate(
                ratio: importanceRatio(rows.logprobs, rows.oldLogprobs), advantages: advantages,
                low: clipRange, high: clipRange)
            rows.metric("clip_ratio/region_mean", surrogate.low + surrogate.high)
            loss = surrogate.loss
        }
        if entCoef > 0 { loss = loss - entCoef * rows.entropy }
        if rows.has("entropy") { rows.metric("entropy", rows.entropy) }
        guard baseline == .value else { return loss }
        let error = 0.5 * (rows.seqValues - rows.returns).square()  // [batch]
        rows.metric("loss/value_avg", error)
        return maskedSum(loss, rows.mask) + vfCoef * error
    }

    // MARK: - State

    func save() -> [UInt8] {
        var writer = StateWriter()
        writer.write(average)
        return writer.bytes
    }

    mutating func load(_ bytes: [UInt8], version: UInt32) throws {
        var reader = StateReader(bytes)
        average = try reader.double()
        try reader.finish()
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? {
    plugin("keel.reinforce", "1.0.0", Reinforce.self)
}
