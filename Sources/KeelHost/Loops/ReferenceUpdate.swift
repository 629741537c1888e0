import KeelBridge
import KeelCore
import KeelModel
import OrderedCollections

/// A-LoL's update of the reference: a policy that has become better by enough is the next reference.
///
/// Baheti et al. 2024, arXiv:2305.14718 (`baseline_update_threshold` of their code): after an evaluation better than that
/// of the reference itself by more than `train.ref_model_update_threshold` the reference becomes the policy. Values of
/// prompts, advantages, kept rows, ratios and log-probs are then made anew.
final class ReferenceUpdate {
    private let reference: FrozenReference
    private let policy: Model
    private let mark: EvaluationMark
    private let threshold: Double
    /// What the reference's own answers were worth; nil before the first evaluation.
    private(set) var baseline: Double?
    /// How often the policy has become the reference.
    var count: Int { reference.version }

    /// - Throws: `KeelError` (config) where the reference's own evaluation would be missing, or the values of prompts
    ///   are the first reference's for good.
    init?(
        _ config: RunConfig, _ planned: [PlannedPhase], _ values: PromptValues,
        reference: FrozenReference?, policy: Model
    ) throws {
        let key = "train.ref_model_update_threshold"
        guard let threshold = config.train.refModelUpdateThreshold, let reference else {
            return nil
        }
        func refuse(_ what: String, _ fix: String) -> KeelError {
            KeelError("config", what, at: config.places.place(of: key), fix: fix, code: .config)
        }
        guard config.train.evalOnStart || planned.first?.parts.contains(.policy) != true else {
            throw refuse(
                "\(key) compares with the reference's own answers, which no evaluation judges before the policy is "
                    + "trained", "set train.eval_on_start to true")
        }
        guard values != .given else {
            throw refuse(
                "\(key) changes the reference, but the rows' \"seq_values\" stay those of the first",
                "set value_head.source to \"rollouts\" or \"data\", or remove \(key)")
        }
        self.reference = reference
        self.policy = policy
        self.threshold = threshold
        mark = EvaluationMark(config.train, isOnline: false)
    }

    /// Looks at an evaluation; whether the policy is to become the reference.
    ///
    /// - Parameter isStart: the policy is the reference, so that this is the mark to beat.
    func isDue(_ values: OrderedDictionary<String, Double>, isStart: Bool) -> Bool {
        guard let value = mark.value(values) else { return false }
        guard !isStart, let baseline else {
            if isStart { baseline = value }
            return false
        }
        guard mark.isBetter(value, than: baseline, by: threshold) else { return false }
        self.baseline = value
        return true
    }

    /// Makes the policy as it is the reference.
    func perform() {
        reference.become(policy)
        Log.notice(
            "the policy is the reference from here on (update \(count)): \(mark.metric) \(baseline ?? .nan)"
        )
    }

    // MARK: - State

    /// For a checkpoint.
    var json: JSON {
        ["count": JSON(count), "baseline": baseline.map { .double($0) } ?? .null]
    }

    /// Goes on where a checkpoint was written, with the reference that it holds.
    func restore(_ state: JSON?) {
        reference.restore(version: state?["count"]?.int ?? 0)
        baseline = state?["baseline"]?.double
    }
}
