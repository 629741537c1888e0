import KeelBridge
import KeelCore
import KeelModel
import KeelTensor

/// A reference that follows the policy: a moving average, or a copy now and then.
///
///     ref = (1 - alpha) ref + alpha policy
///
/// Every `ref_model_sync_steps` steps with `sync_ref_model`; with `ref_model_reset_kl` a copy (alpha 1) after the first
/// step on a roll-out whose KL has passed the limit. Its weights are part of a checkpoint.
struct ReferenceSync {
    private let reference: Model
    private let policy: Model
    private let train: TrainConfig

    /// nil where the reference stays.
    init?(_ networks: Networks, _ config: RunConfig) {
        guard let reference = networks.movingReference else { return nil }
        self.reference = reference
        policy = networks.policy
        train = config.train
    }

    /// The key that asks for a reference that moves; nil where it stays.
    private static func key(_ train: TrainConfig) -> String? {
        if train.syncRefModel { return "train.sync_ref_model" }
        if train.refModelResetKL != nil { return "train.ref_model_reset_kl" }
        return train.refModelUpdateThreshold == nil ? nil : "train.ref_model_update_threshold"
    }

    /// Whether the config asks for one.
    static func isOn(_ config: RunConfig) -> Bool { key(config.train) != nil }

    /// The model that will follow; nil where the config asks for none.
    ///
    /// - Parameters:
    ///   - hasStates: prompts are valued by the reference's states, which must stay while values are in use.
    ///   - isOnline: there are roll-outs to move it after; else it moves after evaluations.
    /// - Throws: `KeelError` (config) for a reference that cannot follow.
    static func model(
        _ reference: Model?, policy: Model, hasStates: Bool, isOnline: Bool, _ config: RunConfig
    ) throws -> Model? {
        guard let key = key(config.train) else { return nil }
        let isUpdate = key == "train.ref_model_update_threshold"
        func refuse(_ what: String, _ fix: String) -> KeelError {
            KeelError("config", what, at: config.places.place(of: key), fix: fix, code: .config)
        }
        guard isUpdate != isOnline else {
            let (has, other) =
                isOnline
                ? ("roll-outs", "train.ref_model_reset_kl")
                : ("rows of a file", "train.ref_model_update_threshold")
            throw refuse(
                "\(key) moves the reference after \(isUpdate ? "evaluations of a run over rows" : "roll-outs"), and "
                    + "objective \"\(config.objective.plugin)\" trains on \(has)",
                "use \(other), or remove \(key)")
        }
        guard let reference else {
            throw refuse(
                "\(key) moves a reference, and this run has none",
                isOnline ? "give the KL a weight, or remove \(key)" : "remove \(key)")
        }
        guard policy.adapter == nil else {
            throw refuse(
                "\(key) needs a reference of its own, but an adapter's is the model below it",
                "remove \(key) or model.lora")
        }
        guard !hasStates || isUpdate else {
            throw refuse(
                "\(key) would move the states that the value head reads", "remove \(key)")
        }
        let shapes = { (model: Model) in model.parameters.map { "\($0.name) \($0.shape)" } }
        guard shapes(reference) == shapes(policy) else {
            throw refuse(
                isUpdate
                    ? "\(key) makes the policy the reference, and they are different models"
                    : "\(key) mixes reference and policy, which are different models",
                "use \"reference\": \"initial\", or remove \(key)")
        }
        return reference
    }

    /// Whether the reference becomes the policy after the first step on a roll-out with a mean KL per response, in nats.
    func resets(kl: Double) -> Bool {
        train.refModelResetKL.map { kl > $0 } ?? false
    }

    /// After `steps` optimizer steps of the run.
    ///
    /// - Parameter resets: what `resets(kl:)` said of a roll-out that was made in the last of them.
    func after(steps: Int, resets: Bool) {
        if resets {
            mix(1)
        } else if train.syncRefModel, steps % train.refModelSyncSteps == 0 {
            mix(train.refModelMixupAlpha)
        }
    }

    private func mix(_ alpha: Double) {
        for (ref, own) in zip(reference.parameters, policy.parameters) {
            ref.assign(ref.master * (1 - alpha) + own.master * alpha)
        }
    }
}
