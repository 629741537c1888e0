import KeelBridge
import KeelCore
import KeelModel
import KeelTensor

/// A reference that follows the policy: a moving average, or a copy now and then.
///
///     ref = (1 - alpha) ref + alpha policy
///
/// Every `ref_model_sync_steps` steps with `sync_ref_model`; with `ref_model_reset_kl` a copy (alpha 1) after a roll-out
/// whose KL has passed the limit. Its weights are part of a checkpoint.
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

    /// Whether the config asks for one.
    static func isOn(_ config: RunConfig) -> Bool {
        config.train.syncRefModel || config.train.refModelResetKL != nil
    }

    /// The model that will follow; nil where the config asks for none.
    ///
    /// - Parameter hasStates: prompts are valued by the reference's states, which must stay.
    /// - Throws: `KeelError` (config) for a reference that cannot follow.
    static func model(
        _ reference: Model?, policy: Model, hasStates: Bool, _ config: RunConfig
    ) throws -> Model? {
        guard isOn(config) else { return nil }
        let key = config.train.syncRefModel ? "train.sync_ref_model" : "train.ref_model_reset_kl"
        func refuse(_ what: String, _ fix: String) -> KeelError {
            KeelError("config", what, at: config.places.place(of: key), fix: fix, code: .config)
        }
        guard let reference else {
            throw refuse(
                "\(key) moves a reference, and this run has none",
                "give the KL a weight, or remove \(key)")
        }
        guard policy.adapter == nil else {
            throw refuse(
                "\(key) needs a reference of its own, but an adapter's is the model below it",
                "remove \(key) or model.lora")
        }
        guard !hasStates else {
            throw refuse(
                "\(key) would move the states that the value head reads", "remove \(key)")
        }
        let shapes = { (model: Model) in model.parameters.map { "\($0.name) \($0.shape)" } }
        guard shapes(reference) == shapes(policy) else {
            throw refuse(
                "\(key) mixes reference and policy, which are different models",
                "use \"reference\": \"initial\", or remove \(key)")
        }
        return reference
    }

    /// After `steps` optimizer steps of the run.
    func after(steps: Int) {
        guard train.syncRefModel, steps % train.refModelSyncSteps == 0 else { return }
        mix(train.refModelMixupAlpha)
    }

    /// After a roll-out with a mean KL per response, in nats; returns whether the reference became the policy.
    func after(kl: Double) -> Bool {
        guard let limit = train.refModelResetKL, kl > limit else { return false }
        mix(1)
        return true
    }

    private func mix(_ alpha: Double) {
        for (ref, own) in zip(reference.parameters, policy.parameters) {
            ref.assign(ref.master * (1 - alpha) + own.master * alpha)
        }
    }
}
