import KeelBridge
import KeelCore
import KeelData
import OrderedCollections

/// The policy's own answers to the validation prompts of an offline run, and what the rewards make of them.
///
/// The draws are the same at every evaluation: the curve shows the model, not the dice.
final class ValidationAnswers {
    private let prompts: [Prompt]
    private let makeRewards: () throws -> RewardSet
    private let sampling: Sampling
    /// Made when it is first used: rewards may need processes and models.
    private var maker: RolloutMaker?

    /// - Parameter prompts: each of them once.
    init(prompts: [Prompt], sampling: Sampling, rewards: @escaping () throws -> RewardSet) {
        self.prompts = prompts
        self.sampling = sampling
        makeRewards = rewards
    }

    /// `reward`, `rewards/NAME/mean`, lengths and distinct-n, without a prefix.
    ///
    /// - Throws: what generation and rewards throw.
    func metrics(_ context: CallContext) throws -> OrderedDictionary<String, Double> {
        let maker =
            try self.maker
            ?? RolloutMaker(
                sampling: sampling, rewards: try makeRewards(), reference: nil, samplesPerPrompt: 1)
        self.maker = maker
        let drawn = try maker.draw(
            prompts, stream: 0, place: "evaluate", purpose: .evaluation, context: context)
        let rewards = drawn.scored.rewards.filter { !$0.isNaN }
        var metrics: OrderedDictionary<String, Double> = ["reward": Statistics.mean(rewards)]
        for (name, scores) in zip(drawn.scored.names, drawn.scored.scores) {
            metrics["rewards/\(name)/mean"] = Statistics.mean(scores.filter { !$0.isNaN })
        }
        metrics["completions/mean_length"] = Statistics.mean(
            drawn.samples.map { Double($0.tokens.count) })
        metrics["completions/clipped_ratio"] = Statistics.mean(
            drawn.samples.map { $0.isFinished ? 0 : 1 })
        let texts = drawn.samples.map(\.text)
        for n in 1...3 { metrics["distinct_\(n)_corpus"] = DistinctN.corpus(texts, n) }
        return metrics
    }
}
