import Glibc
import KeelPlugin

/// Preference ranking optimization: lists of responses, each better than all that follow.
///
/// Song et al. 2023, arXiv:2306.17492, equations 7 and 10. With s_k the mean log-probability of response k and
/// its reward r_k, ranked from 0, the best:
///
///     t_ki = r_k - r_i,   t_kk = max_i t_ki                                     (i ranked below k)
///     L = Σ_k [ log( e^{s_k t_kk} + Σ_i e^{s_i t_ki} ) - s_k t_kk ] + w (K - 1)² (-log πθ(y_best|x))
///
/// Rewards are constants, a list may be of any length, candidates of equal rank are not compared. The released code adds
/// 1e-10 inside the logarithm (`eps`), by which the push on bad responses vanishes when rewards are far apart. Reward
/// differences should be about 1: standardise them, or pass them through a sigmoid.
struct PRO: Objective {
    static let name = "pro"
    static let help = "Preference ranking optimization on ranked lists of responses."
    static let needs: Needs = [
        .ranked, .meanLogprobs, .seqLogprobs, .rewards, .rank, .valid,
        .optional(.column("sft_index")),
    ]

    @Param("sft_weight", 0.0..., "w: weight of the likelihood of the best response.")
    var sftWeight = 0.05

    @Param("eps", 0.0..., "Added inside the logarithm; 1e-10 in the authors' code.")
    var eps = 0.0

    func loss(_ lists: Ranked) -> Tensor {
        guard let size = lists.meanLogprobs.shape?.last else { return lists.meanLogprobs }
        let (pivot, other) = ([-1, size, 1], [-1, 1, size])  // k along one axis, i along the next
        let score = lists.meanLogprobs
        let valid = lists.valid

        // [batch, k, i]: i is ranked below k.
        let isBelow =
            (lists.rank.reshaped(pivot) < lists.rank.reshaped(other)) * valid.reshaped(pivot)
            * valid.reshaped(other)
        let isPivot = isBelow.max(axis: -1)  // [batch, k]: has someone below
        let gap = lists.rewards.reshaped(pivot) - lists.rewards.reshaped(other)
        let widest = select(isPivot, gap.max(axis: -1, mask: isBelow), 0 * valid)  // t_kk

        let own = select(isPivot, score * widest, 0 * valid)
        let others = select(isBelow, score.reshaped(other) * gap, 0 * isBelow)
        var terms = own.reshaped(pivot).concatenated(with: [others], axis: 2)
        var counts = isPivot.reshaped(pivot).concatenated(with: [isBelow], axis: 2)
        if eps > 0 {
            let floor = 0 * isPivot.reshaped(pivot) + Glibc.log(eps)
            terms = terms.concatenated(with: [floor], axis: 2)
            counts = counts.concatenated(with: [isPivot.reshaped(pivot)], axis: 2)
        }
        let losses = terms.logSumExp(axis: -1, mask: counts) - own  // [batch, k]
        let ranking = losses.sum(axis: -1, mask: isPivot)

        let best = sftLoss(lists, size)
        report(lists, losses, isPivot, best, size)
        return ranking + best
    }

    /// w (K - 1)² (-log πθ) of the response at `sft_index`, `[batch]`; K = the valid ones.
    private func sftLoss(_ lists: Ranked, _ size: Int) -> Tensor {
        let index =
            lists.has("sft_index") ? lists.column("sft_index").asColumn() : 0 * lists.valid
        let isBest = (lists.rank - index).equals(0) * lists.valid
        let likelihood = lists.seqLogprobs.mean(axis: -1, mask: isBest)
        let below = (lists.valid.sum(axis: -1) - 1).clamped(0, .infinity)
        return -sftWeight * below.square() * likelihood
    }

    private func report(
        _ lists: Ranked, _ losses: Tensor, _ isPivot: Tensor, _ best: Tensor, _ size: Int
    ) {
        let none = lists.constant(Column([.nan]))
        for place in 0..<Swift.max(size - 1, 0) {
            let here = lists.rank.equals(Double(place)) * isPivot
            let value = losses.mean(axis: -1, mask: here)
            lists.metric("rank_\(place)_loss", select(here.max(axis: -1), value, none))
        }
        lists.metric("sft_loss", best)
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? { plugin("keel.pro", "1.0.0", PRO.self) }
