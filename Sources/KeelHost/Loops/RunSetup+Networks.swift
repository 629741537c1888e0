import KeelBridge
import KeelCore
import KeelModel
import KeelTensor
import KeelText

extension RunSetup {
    /// Loads the policy and what the plan puts beside it.
    ///
    /// - Parameters:
    ///   - columns: those of the current policy that the phases need.
    ///   - isOnline: some phase generates.
    ///   - weights: a checkpoint to go on from; nil = a new run.
    ///   - reference: the frozen model, where one is needed.
    /// - Throws: `KeelError` for models and heads that cannot be loaded or do not fit each other.
    static func networks(
        _ config: RunConfig, plan: HeadPlan, columns: CurrentColumns, isOnline: Bool,
        weights: String?, reference: Model?, tokenizer: Tokenizer, device: Device
    ) throws -> Networks {
        let seed = UInt64(config.train.seed)
        let dtype: DType = config.model.dtype == .bf16 ? .bf16 : .f32
        let padID = tokenizer.padID.flatMap { Int32(exactly: $0) }
        let needsText = isOnline || columns.contains(.logprobs)
        var outputs: Outputs?
        if plan.hasRewardHead { outputs = needsText ? [.language, .score] : .score }
        let policy = try Model.load(
            directory: weights ?? config.model.path, dtype: dtype, device: device,
            outputs: outputs, seed: seed, padID: padID)
        if needsText { try policy.requireLanguageHead() }
        return Networks(
            policy: policy,
            critic: plan.hasCritic
                ? try critic(
                    config, policy, weights: weights, padID: padID, dtype: dtype, device: device)
                : nil,
            valueHead: try plan.valueHead.map {
                try valueHead($0, config, policy, weights: weights, device: device)
            }, reference: reference, temperature: config.sampler.temperature, seed: seed)
    }

    private static func critic(
        _ config: RunConfig, _ policy: Model, weights: String?, padID: Int32?, dtype: DType,
        device: Device
    ) throws -> Model {
        let path =
            weights.map { Files.join($0, Networks.criticFolder) } ?? config.critic.path
            ?? config.rewards.lazy.compactMap(\.model?.path).first ?? config.model.path
        let critic = try Model.load(
            directory: path, dtype: dtype, device: device, outputs: .score, scoreStart: .zeros,
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
    static func reference(
        _ config: RunConfig, device: Device
    ) throws -> (model: Model, folder: String, isCached: Bool)? {
        var folder = config.model.path
        var isCached = true
        switch config.reference {
        case .none: return nil
        case .initial: break
        case .path(let path, let cache): (folder, isCached) = (path, cache)
        }
        let dtype: DType = config.model.dtype == .bf16 ? .bf16 : .f32
        let model = try Model.load(directory: folder, dtype: dtype, device: device)
        return (model, folder, isCached)
    }
}
