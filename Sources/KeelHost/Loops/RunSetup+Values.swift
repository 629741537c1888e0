import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor

extension RunSetup {
    /// The loop of a phase that fits values of prompts: to the reference's own responses, or to the rows.
    ///
    /// - Parameters:
    ///   - sampling: of the frozen reference.
    static func valueLoop(
        _ data: RunData, _ item: PlannedPhase, _ update: PolicyUpdate, _ source: PromptValues,
        _ sampling: Sampling, _ frozen: FrozenReference, _ reference: ReferenceLogprobs?,
        _ config: RunConfig,
        _ plugins: RunPlugins, _ catalog: PluginCatalog, _ device: Device
    ) throws -> ValueLoop {
        let part = data.valid ?? data.train
        let perStep = config.train.rowsPerStep * update.communicator.size
        let makeLoop = { rows in
            try OfflineLoop(
                rows: rows, valid: .none, update: update, reference: reference, sampling: nil,
                config: config)
        }
        let cache = { try headCache(item, frozen, update.firstStep, config, plugins, device) }
        guard source == .rollouts else {
            let rows = part.offline
            return ValueLoop(
                networks: update.networks, update: update,
                expectedSteps: (rows.count + perStep - 1) / perStep, cache: cache,
                rows: { _ in (rows, [:]) }, loop: makeLoop)
        }
        let rollouts = try referenceRollouts(
            part, sampling, frozen, config, plugins, catalog, device)
        let count = Set(part.tokens.rows.map(\.prompt)).count * config.valueHead.rollouts
        return ValueLoop(
            networks: update.networks, update: update,
            expectedSteps: (count + perStep - 1) / perStep, cache: cache,
            rows: { try rollouts.rows(limit: $0) }, loop: makeLoop)
    }

    /// Where heads are kept, by everything that their training depends on but the rows.
    ///
    /// - Parameter firstStep: of the phase; the zeros of dropout are drawn by the run's steps.
    private static func headCache(
        _ item: PlannedPhase, _ frozen: FrozenReference, _ firstStep: Int, _ config: RunConfig,
        _ plugins: RunPlugins, _ device: Device
    ) throws -> ValueHeadCache {
        let objective = plugins.objective
        let train = config.train.json
        let keys = [
            "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate",
            "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm",
            "lr_scheduler_type", "warmup_steps", "warmup_ratio", "seed",
        ]
        return ValueHeadCache(
            folder: Files.userFolder("XDG_CACHE_HOME", ".cache"),
            settings: [
                try frozen.contentHash(), config.model.dtype.rawValue,
                "\(device.isa)", objective.component.sha256, objective.component.name,
                JSON.object(objective.parameters.values).text(), config.valueHead.json.text(),
                config.phases.byName[item.phase.name]?.json.text() ?? "", "\(item.length)",
            ] + keys.map { "\($0) \(train[$0]?.text() ?? "")" }
                + (firstStep > 0 ? ["from step \(firstStep)"] : []))
    }

    /// What answers the validation prompts at the evaluations of an offline phase; nil where none is asked for.
    static func answers(
        _ data: RunData, _ policy: Model, _ sampling: Sampling, _ config: RunConfig,
        _ plugins: RunPlugins, _ catalog: PluginCatalog, _ device: Device
    ) -> ValidationAnswers? {
        guard config.train.evalGenerations, policy.architecture.hasLanguageHead,
            let valid = data.valid
        else { return nil }
        let (seed, path) = (UInt64(config.train.seed), config.model.path)
        return ValidationAnswers(prompts: prompts(valid), sampling: sampling) {
            try RewardSet(
                config, plugins.rewards, catalog: catalog, seed: seed,
                models: .init(device: device, policy: path))
        }
    }

    /// The prompts of some rows, each of them once.
    private static func prompts(_ part: RunData.Part) -> [Prompt] {
        var known: Set<[Int32]> = []
        return part.tokens.rows.filter { known.insert($0.prompt).inserted }.map {
            Prompt($0, of: part.rows)
        }
    }

    private static func referenceRollouts(
        _ part: RunData.Part, _ sampling: Sampling, _ frozen: FrozenReference, _ config: RunConfig,
        _ plugins: RunPlugins, _ catalog: PluginCatalog, _ device: Device
    ) throws -> ReferenceRollouts {
        let prompts = prompts(part)
        let rewards = RowRewards(config, plugins, catalog: catalog, device: device)
        let key = { () throws -> String? in
            guard rewards.isReplayable else { return nil }
            return [
                "rollouts 1", try frozen.contentHash(), try rewards.key(part),
                config.model.dtype.rawValue, "\(device.isa)", config.sampler.json.text(),
                plugins.sampler.component.sha256, "\(sampling.maxNewTokens)",
                "\(config.valueHead.rollouts)", config.combine.json.text(),
                JSON.array(config.rewards.map(\.json)).text(),
            ].joined(separator: "\n")
        }
        let (seed, policy) = (UInt64(config.train.seed), config.model.path)
        return ReferenceRollouts(
            prompts: prompts, perPrompt: config.valueHead.rollouts, transform: rewards.transform,
            cacheKey: key
        ) {
            RolloutMaker(
                sampling: sampling,
                rewards: try RewardSet(
                    config, plugins.rewards, catalog: catalog, seed: seed,
                    models: .init(device: device, policy: policy)),
                reference: nil, samplesPerPrompt: config.valueHead.rollouts)
        }
    }
}
