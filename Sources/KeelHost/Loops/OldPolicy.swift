import KeelBridge
import KeelCore
import KeelData
import KeelModel

/// The slowly synced copy of the policy that offline objectives see as `old_*` columns.
///
/// It takes over the policy's weights every so many optimizer steps, and where an epoch begins (Pang & He 2021).
final class OldPolicy {
    private let weights: LaggedWeights
    private let scorer: SequenceScorer
    private let config: OldPolicyConfig

    init(_ policy: Model, temperature: Double, _ config: OldPolicyConfig) {
        weights = LaggedWeights(policy.trained)
        scorer = SequenceScorer(model: policy, temperature: temperature)
        self.config = config
    }

    /// Whether a phase cannot do without the copy's log-probs.
    static func isNeeded(_ needs: [String]) -> Bool {
        needs.contains { need in
            let base = ColumnNames.split(need).base
            return !need.hasSuffix("?") && base.hasPrefix("old_") && base.hasSuffix("logprobs")
        }
    }

    /// Before a step of the phase: takes over the weights where that is due.
    func begin(step: Int, isEpochStart: Bool) {
        if config.syncEpochs && isEpochStart || config.syncSteps > 0 && step % config.syncSteps == 0
        {
            weights.sync()
        }
    }

    /// The log-probs of each completion of each row under the copy, row by row: `[completion][token]`.
    func logprobs(_ rows: [TokenizedRow]) throws -> [[Double]] {
        try weights.with {
            try rows.flatMap { try scorer.logprobs([$0]) }.map { $0.map(Double.init) }
        }
    }

    func save(to folder: String) throws { try weights.save(to: folder) }
    func load(from folder: String) throws { try weights.load(from: folder) }
}
