import Glibc
import KeelCore
import KeelData
import OrderedCollections

/// What tells of a roll-out whether training is still sound.
///
/// Zheng et al. 2023, "Secrets of RLHF", section 5.2: response length, KL, perplexity and the distribution of rewards
/// show a collapse while the losses look healthy.
struct RolloutHealth {
    /// Nats per token to the reference; NaN without one.
    private(set) var tokenKL = Double.nan
    /// Nats per response to the reference; NaN without one.
    private(set) var sequenceKL = Double.nan
    /// Completions cut at the length limit.
    private(set) var clippedRatio = 0.0
    /// Different completions among all.
    private(set) var uniqueRatio = 1.0
    /// Groups whose rewards are all equal; NaN where there are no groups.
    private(set) var zeroStdRatio = Double.nan
    let completions: Int
    private var perplexity = Double.nan
    private var referencePerplexity = Double.nan
    private var meanLength = 0.0
    private var rewards: [Double] = []

    init(_ rollout: Rollout) {
        completions = rollout.rows.count
        let tokens = rollout.oldLogprobs.reduce(0) { $0 + $1.count }
        guard completions > 0, tokens > 0 else { return }
        let total = { (lists: [[Double]]) in lists.reduce(0) { $0 + $1.reduce(0, +) } }
        perplexity = exp(-total(rollout.oldLogprobs) / Double(tokens))
        if let ref = rollout.refLogprobs {
            referencePerplexity = exp(-total(ref) / Double(tokens))
            let kl = zip(rollout.oldLogprobs, ref).map { own, ref in
                zip(own, ref).reduce(0) { $0 + $1.0 - $1.1 }
            }
            sequenceKL = Statistics.mean(kl)
            let perToken = zip(kl, ref).filter { !$1.isEmpty }.map { $0 / Double($1.count) }
            tokenKL = Statistics.mean(perToken)
        }
        meanLength = Double(tokens) / Double(completions)
        let cut = rollout.isFinished.count { !$0 }
        clippedRatio = Double(cut) / Double(completions)
        let different = Set(rollout.rows.map { $0.completions.first ?? [] }).count
        uniqueRatio = Double(different) / Double(completions)
        zeroStdRatio = rollout.metrics["frac_reward_zero_std"] ?? .nan
        rewards = rollout.rewards.filter { !$0.isNaN }.sorted()
    }

    /// In the order they are logged.
    var metrics: OrderedDictionary<String, Double> {
        var metrics: OrderedDictionary<String, Double> = [
            "policy/ppl": perplexity, "ref/ppl": referencePerplexity, "ref_kl": tokenKL,
            "objective/kl": sequenceKL, "res_len": meanLength,
            "completions/unique_ratio": uniqueRatio,
        ]
        guard !rewards.isEmpty else { return metrics }
        for (name, share) in [("min", 0), ("p10", 0.1), ("p50", 0.5), ("p90", 0.9), ("max", 1)] {
            metrics["reward/\(name)"] = quantile(share)
        }
        return metrics
    }

    private func quantile(_ share: Double) -> Double {
        let place = share * Double(rewards.count - 1)
        let low = Int(place)
        let high = min(low + 1, rewards.count - 1)
        return rewards[low] + (place - Double(low)) * (rewards[high] - rewards[low])
    }
}
