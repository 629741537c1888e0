import KeelBridge
import KeelCore
import KeelModel
import KeelTensor
import KeelText

extension RunSetup {
    /// Loads the policy, with the adapter that is trained in its place.
    ///
    /// - Parameters:
    ///   - columns: those of the current policy that the phases need.
    ///   - isOnline: some phase generates.
    ///   - weights: a checkpoint to go on from; nil = a new run.
    /// - Throws: `KeelError` for a model or adapter that cannot be loaded.
    static func policy(
        _ config: RunConfig, plan: HeadPlan, columns: CurrentColumns, isOnline: Bool,
        weights: String?, tokenizer: Tokenizer, device: Device
    ) throws -> Model {
        let seed = UInt64(config.train.seed)
        let needsText = isOnline || columns.contains(.logprobs)
        let isAdapted = config.model.lora != nil || config.model.adapter != nil
        var outputs: Outputs?
        let saved = (config.model.lora?.modulesToSave ?? []) + (plan.hasRewardHead ? ["score"] : [])
        if plan.hasRewardHead { outputs = needsText ? [.language, .score] : .score }
        let isInitial = isAdapted || weights == nil
        let policy = try Model.load(
            directory: isInitial ? config.model.path : weights ?? config.model.path,
            dtype: config.dtype, device: device, outputs: outputs, seed: seed,
            padID: padID(tokenizer), isFingerprinted: isInitial,
            // Under an adapter what is not trained needs no masters.
            hasMaster: { weight in
                !isAdapted || saved.contains { LoRAConfig.names(weight.module, $0) }
            })
        if needsText { try policy.requireLanguageHead() }
        guard isAdapted else { return policy }
        let place = config.places.place(of: "model.lora")
        do {
            if let folder = weights ?? config.model.adapter {
                return try policy.adapted(directory: folder)
            }
            var lora = try config.model.lora?.config(at: place) ?? LoRAConfig()
            if plan.hasRewardHead, !lora.modulesToSave.contains("score") {
                lora.modulesToSave.append("score")
            }
            return try policy.adapted(lora, seed: seed)
        } catch var error as KeelError {
            // What the config names is told with its line.
            if error.at == nil || !(error.at ?? "").contains("/") { error.at = place }
            throw error
        }
    }

    private static func padID(_ tokenizer: Tokenizer) -> Int32? {
        tokenizer.padID.flatMap { Int32(exactly: $0) }
    }

    /// The policy and what the plan puts beside it.
    ///
    /// - Parameters:
    ///   - weights: a checkpoint to go on from; nil = a new run.
    ///   - reference: the frozen model, where one is needed.
    /// - Throws: `KeelError` for models and heads that cannot be loaded or do not fit each other.
    static func networks(
        _ config: RunConfig, policy: Model, plan: HeadPlan, weights: String?, reference: Model?,
        tokenizer: Tokenizer, device: Device
    ) throws -> Networks {
        let critic =
            plan.hasCritic
            ? try critic(config, policy, weights: weights, padID: padID(tokenizer), device: device)
            : nil
        policy.recomputesActivations = config.train.gradientCheckpointing
        critic?.recomputesActivations = config.train.gradientCheckpointing
        return Networks(
            policy: policy, critic: critic,
            valueHead: try plan.valueHead.map {
                try valueHead($0, config, policy, weights: weights, device: device)
            }, reference: reference, temperature: config.sampler.temperature,
            seed: UInt64(config.train.seed))
    }

    private static func critic(
        _ config: RunConfig, _ policy: Model, weights: String?, padID: Int32?, device: Device
    ) throws -> Model {
        let path =
            weights.map { Files.join($0, Networks.criticFolder) } ?? config.critic.path
            ?? config.rewards.lazy.compactMap(\.model?.path).first ?? config.model.path
        let critic = try Model.load(
            directory: path, dtype: config.dtype, device: device, outputs: .score,
            scoreStart: .zeros,
            padID: padID)
        guard critic.vocabularySize == policy.vocabularySize else {
            throw KeelError(
                "config",
                "the critic's vocabulary has \(critic.vocabularySize) tokens, the policy's \(policy.vocabularySize)",
                at: config.places.place(of: "critic.path"),
                fix: "use a model with the policy's tokenizer", code: .config)
        }
        return critic
    }

    private static func valueHead(
        _ kind: ValueHead.Kind, _ config: RunConfig, _ policy: Model, weights: String?,
        device: Device
    ) throws -> ValueHead {
        var settings = ValueHead.Settings()
        settings.heads = config.valueHead.heads
        settings.dropout = config.valueHead.dropout
        settings.maxValue = config.valueHead.maxValue ?? (kind == .linear ? nil : 1)
        let head = try ValueHead(
            kind, hiddenSize: policy.architecture.hiddenSize, settings: settings,
            seed: UInt64(config.train.seed), device: device)
        if let weights { try head.load(from: weights) }
        return head
    }

    /// The frozen reference and where its log-probs are kept; nil when the config has none.
    ///
    /// With an adapter the initial policy is the same model without it: no second copy. Without one it is the same
    /// until its first update.
    ///
    /// - Parameters:
    ///   - plan: the policy's heads.
    ///   - weights: a checkpoint to go on from, which holds a reference that follows the policy.
    static func reference(
        _ config: RunConfig, policy: Model, plan: HeadPlan, weights: String?, device: Device
    ) throws -> FrozenReference? {
        var folder = config.model.path
        var isCached = true
        switch config.reference {
        case .none: return nil
        case .initial where policy.adapter != nil:
            return FrozenReference(policy.base, folder: folder, isCached: true)
        case .initial where weights == nil && !plan.hasRewardHead && !ReferenceSync.isOn(config):
            return FrozenReference(policy.frozen(), folder: folder, isCached: true)
        case .initial: break
        case .path(let path, let cache): (folder, isCached) = (path, cache)
        }
        var source = folder
        if let weights, ReferenceSync.isOn(config) {
            source = Files.join(weights, Networks.referenceFolder)
        }
        // One that follows the policy is mixed in f32.
        let model = try Model.load(
            directory: source, dtype: config.dtype, device: device,
            isFingerprinted: source == folder, hasMaster: { _ in ReferenceSync.isOn(config) })
        return FrozenReference(model, folder: folder, isCached: isCached)
    }
}

extension RunConfig {
    /// What models compute in.
    var dtype: DType { model.dtype == .bf16 ? .bf16 : .f32 }
}
