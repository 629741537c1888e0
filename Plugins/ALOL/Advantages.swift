import Glibc
import KeelPlugin

/// What becomes of rows that the reference would do better on.
enum AdvantageFilter: String, CaseIterable {
    /// Weight 0: they are never seen, and the epochs are those of the rows that stay.
    case positive
    /// They stay, with advantage 0.
    case none
}

/// The parameters that all A-LoL objectives share.
struct AdvantageParameters: ParameterGroup {
    @Param("advantage_filter", "positive: rows with A ≤ 0 leave the data; none: they weigh 0.")
    var filter = AdvantageFilter.positive
    @Param("weight_by_advantage", "false: every row of positive advantage weighs the same.")
    var weightByAdvantage = true
    @Param("value_epochs", 0.0..., "Epochs of the value phase; 0: V comes from the data.")
    var valueEpochs = 10.0
}

/// The phases that all A-LoL objectives share.
///
/// `value`: V(x) is fitted to the rewards of the reference's own responses, (V - R)², by a head that pools the frozen
/// reference's states of the prompt. `policy`: advantages over the whole data set once, then the loss of the objective.
protocol AdvantageObjective: Objective, Preparing where Batch == Rows {
    /// The columns of the policy phase.
    static var reads: Needs { get }
    var shared: AdvantageParameters { get }
    /// The loss, `[batch]` or `[batch, time]`, given each row's weight A⁺, `[batch]`.
    func policyLoss(_ rows: Rows, _ advantage: Tensor) -> Tensor
}

extension AdvantageObjective {
    static var needs: Needs { reads }
    static var gives: [String] { ["advantages", "weight"] }
    static var heads: [Head] { [.attentionPoolValue] }
    static var phases: [Phase] {
        [
            Phase(
                "value", needs: [.scored, .seqValues, .rewards], trains: [.valueHead],
                epochs: "value_epochs"),
            Phase("policy", needs: reads, prepares: .dataset),
        ]
    }

    /// Advantages of all rows, and which of them stay.
    func prepare(_ columns: Columns) throws {
        guard columns.phase == "policy" else { return }
        let rewards = try checkedRewards(columns)
        let values = try columns("seq_values").values
        if let row = values.firstIndex(where: { !$0.isFinite }) {
            throw PluginError(.invalid, "row \(row) has the value \(values[row])")
        }
        let advantages = zip(rewards, values).map { $0 - $1 }
        let kept = advantages.map { $0 > 0 }
        try columns.put("advantages", Column(advantages))
        if shared.filter == .positive {
            let weights = columns.has("weight") ? try columns("weight").values : []
            try columns.put(
                "weight",
                Column(kept.indices.map { kept[$0] ? (weights.isEmpty ? 1 : weights[$0]) : 0 }))
        }
        report(columns, rewards, values, advantages)
    }

    private func report(
        _ columns: Columns, _ rewards: [Double], _ values: [Double], _ advantages: [Double]
    ) {
        guard !advantages.isEmpty else { return }
        let count = Double(advantages.count)
        let sorted = advantages.sorted()
        for percent in [0, 25, 50, 75, 100] {
            let place = Double(percent) / 100 * Double(sorted.count - 1)
            let (low, part) = (sorted[Int(place)], place - place.rounded(.down))
            let high = sorted[Swift.min(Int(place) + 1, sorted.count - 1)]
            columns.metric("alol/advantage_p\(percent)", low + part * (high - low))
        }
        columns.metric("alol/advantage_mean", advantages.reduce(0, +) / count)
        columns.metric("alol/kept_fraction", Double(advantages.count { $0 > 0 }) / count)
        columns.metric("alol/reward_mean", rewards.reduce(0, +) / count)
        columns.metric("alol/value_mean", values.reduce(0, +) / count)
        columns.metric(
            "alol/value_mse",
            zip(rewards, values).map { ($0 - $1) * ($0 - $1) }.reduce(0, +) / count)
    }

    func loss(_ rows: Rows) -> Tensor {
        guard rows.phase == "policy" else {
            let error = (rows.seqValues - rows.rewards).square()  // [batch]
            rows.metric("alol/value_mse", error)
            return error
        }
        let advantage = relu(rows.advantages)  // A⁺, [batch]
        rows.metric("alol/advantage", rows.advantages)
        return policyLoss(rows, shared.weightByAdvantage ? advantage : advantage > 0)
    }
}

/// The rewards of all rows, each a finite number.
func checkedRewards(_ columns: Columns) throws -> [Double] {
    let rewards = try columns("rewards").values
    if let row = rewards.firstIndex(where: { !$0.isFinite }) {
        throw PluginError(
            .invalid,
            "row \(row) has the reward \(rewards[row]): every row needs one, from the data's "
                + "\"reward\" or from \"rewards\" of the config")
    }
    return rewards
}

/// The importance ratio πθ/π_ref as a constant weight, clipped or capped in log space.
///
///     ρ = exp(clamp(sg[log πθ - log π_ref], log(1 - c), log(1 + c)))
///
/// With c = 0 the exponent is at most 20, so that nothing overflows; c ≥ 1 bounds it above only.
struct ImportanceRatio {
    /// ρ, in the shape of the log-ratio.
    let value: Tensor
    private let isLow: Tensor
    private let isHigh: Tensor
    private let isClipped: Bool

    init(_ logratio: Tensor, clip: Double) {
        let logratio = logratio.detached()
        isClipped = clip > 0
        let low = clip > 0 && clip < 1 ? Glibc.log1p(-clip) : -.infinity
        let high = clip > 0 ? Glibc.log1p(clip) : 20
        value = exp(logratio.clamped(low, high))
        isLow = logratio < low
        isHigh = logratio > high
    }

    /// Mean, largest and smallest ratio, and the share of those at a bound.
    func report(_ rows: Rows, _ family: String) {
        rows.metric("\(family)/ratio_mean", value)
        rows.metric("\(family)/ratio_max", value, .max)
        rows.metric("\(family)/ratio_min", value, .min)
        rows.metric(
            "\(family)/\(isClipped ? "ratio_clipped_fraction" : "ratio_capped_fraction")",
            isLow + isHigh)
    }
}
