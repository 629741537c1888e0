import Glibc
import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor
import KeelText

/// Everything that a config names, loaded and checked: what `train` runs and `check` rehearses.
final class RunSetup {
    let config: RunConfig
    let plugins: RunPlugins
    let device: Device
    let tokenizer: Tokenizer
    let networks: Networks
    /// The optimizers of all that is trained.
    let optimizer: Trainers
    /// All phases, one after the other.
    let loop: PhasedLoop
    let objective: ObjectiveInstance
    let communicator: any Communicator = SingleRank()
    /// What was done to the data, for the log and the manifest.
    let notes: [String]
    /// Name -> SHA-256 of the data files.
    let dataHashes: [(String, String)]
    /// Name -> what became of the rows of the data files.
    let dataCounts: [(String, JSON)]

    /// What a plan of the run's memory is made from.
    private let memory: RunMemory
    private let reference: FrozenReference?

    /// Where the run writes what it did when.
    let trace: Trace?
    /// Counts CPU seconds by stage; nil = nobody asked.
    let profile: Profile?

    /// The model being trained.
    var model: Model { networks.policy }
    var totalSteps: Int { loop.totalSteps }
    var isOnline: Bool { loop.isOnline }

    /// - Parameters:
    ///   - weights: the folder to load the policy from: the config's model, or a checkpoint.
    ///   - trace: gets what the run does when.
    /// - Throws: `KeelError` or `KeelErrors`, before anything is written.
    init(
        config: RunConfig, plugins: RunPlugins, catalog: PluginCatalog, weights: String? = nil,
        trace: Trace? = nil, isProfiled: Bool = false
    ) throws {
        self.config = config
        self.trace = trace
        profile = isProfiled ? Profile(trace) : nil
        self.plugins = plugins
        let begin = Clock.now()
        let reading = try RunReading(config, plugins, catalog: catalog)
        trace?.span("read data", lane: "start", from: begin, to: Clock.now())
        let (device, tokenizer, objective) = (reading.device, reading.tokenizer, reading.objective)
        self.device = device
        self.tokenizer = tokenizer
        self.objective = objective
        var (plan, planned, data) = (reading.plan, reading.phases, reading.data)
        let component = plugins.objective.component
        let seed = UInt64(config.train.seed)
        dataHashes = data[planned[0].dataKind]?.hashes ?? []
        let promptValues = try PromptValues(config, component, plan, planned, data)
        promptValues.claim(&data)
        if promptValues == .given || promptValues == .promptMean {
            planned.removeAll(where: plan.fitsPrompts)
            plan = plan.withoutPromptValues()
        }

        let needs = planned.flatMap { objective.needs(phase: $0.phase.name) }
        plan.drop(unread: CurrentColumns(needs: needs))
        for phase in planned.indices {
            planned[phase].parts = planned[phase].parts.filter(plan.has)
        }
        for phase in planned {
            let own = objective.needs(phase: phase.phase.name)
            try RunChecks.columns(
                phase, needs: own, rewarding: plugins.rewards.flatMap(\.component.gives),
                data[phase.dataKind], plan, config)
            try RunChecks.phase(phase.phase, isOnline: phase.isOnline, component, config)
        }
        try RunChecks.ptx(planned, config)
        try RunChecks.baseline(needs, RewardComposition(config), config)

        memory = RunMemory(
            heads: plan, phases: planned, needs: needs,
            isCoupled: component.flags.contains(.coupled), threads: reading.threads,
            longestPrompt: planned.first(where: \.isOnline).flatMap { data[$0.dataKind] }?
                .train.tokens.rows.shapes.map(\.prompt).max())
        // Before anything large is loaded; the steps' own share is not known yet.
        // What is wrong with a model is told where it is loaded.
        if let plan = try? memory.plan(config) { try memory.check(plan, config) }

        let loading = Clock.now()
        let columns = CurrentColumns(needs: needs)
        let policy = try RunSetup.policy(
            config, plan: plan, columns: columns, isOnline: planned.contains(where: \.isOnline),
            weights: weights, tokenizer: tokenizer, device: device)
        let monitorsKL = config.train.monitorKL
        let needsStates = columns.contains(.seqValues) && plan.valueHead != nil
        let frozen =
            RunChecks.holdsReference(
                config, needs: needs, phases: planned, valuesPrompts: needsStates)
            ? try RunSetup.reference(
                config, policy: policy, plan: plan, weights: weights, device: device) : nil
        reference = frozen
        if needsStates, frozen == nil {
            throw KeelError(
                "config",
                "objective \"\(component.name)\" values prompts by the states of the reference, but \"reference\" is \"none\"",
                at: config.places.place(of: "reference"), fix: "set \"reference\": \"initial\"",
                code: .config)
        }
        let networks = try RunSetup.networks(
            config, policy: policy, plan: plan, weights: weights,
            reference: needsStates ? frozen?.model : nil, tokenizer: tokenizer, device: device)
        networks.movingReference = try ReferenceSync.model(
            frozen?.model, policy: policy, hasStates: needsStates,
            isOnline: planned.contains(where: \.isOnline), config)
        trace?.span("load models", lane: "start", from: loading, to: Clock.now())
        networks.chatTemplate = try config.data.chatTemplate.map(Files.readText)
        self.networks = networks
        for phase in planned {
            try data[phase.dataKind]?.check(fits: networks.policy, room: phase.isOnline ? 1 : 0)
        }
        let rewardsOfRows = RowRewards(config, plugins, catalog: catalog, device: device)
        try RunSetup.giveRewards(planned, objective, rewardsOfRows, to: &data)
        try promptValues.fill(&data, at: config.places.place(of: "value_head.source"))
        var notes: [String] = []
        for phase in planned {
            for note in data[phase.dataKind]?.notes ?? [] where !notes.contains(note) {
                notes.append(note)
            }
        }
        self.notes = notes
        dataCounts = data[planned[0].dataKind]?.counts ?? []
        let trainers = Trainers(networks, Set(planned.flatMap(\.parts)), config)
        optimizer = trainers
        // What no phase trains costs no gradients.
        for part in Part.allCases where trainers[part] == nil {
            for parameter in networks.parameters(of: part) { parameter.isTrained = false }
        }

        let sampling = Sampling(
            config.sampler, model: networks.policy, tokenizer: tokenizer,
            sampler: PluginSampling(
                try TokenSamplerInstance(
                    plugins.sampler.component, catalog: catalog,
                    parameters: plugins.sampler.parameters, seed: seed)),
            maxNewTokens: config.data.maxCompletionLength ?? 512, seed: seed)
        if let online = planned.first(where: \.isOnline), let rows = data[online.dataKind] {
            try NativeRehearsal.run(config, plugins.rewards, on: rows.train.rows)
        }
        let rewards =
            planned.contains(where: \.isOnline)
            ? try RewardSet(
                config, plugins.rewards, catalog: catalog, seed: seed,
                models: .init(device: device, policy: config.model.path)) : nil
        let isOffline = !planned.contains(where: \.isOnline)
        if OldPolicy.isNeeded(needs), isOffline {
            networks.oldPolicy = OldPolicy(
                networks.policy, temperature: config.sampler.temperature, config.oldPolicy)
        }
        let facts = RunSetup.facts(config, networks.policy, tokenizer)
        let communicator = communicator
        let phases = try planned.map { item in
            let own = objective.needs(phase: item.phase.name)
            var reference: ReferenceLogprobs?
            if RunChecks.needsReference(own) || (monitorsKL && item.isOnline), let frozen {
                try frozen.model.requireLanguageHead()
                reference = try ReferenceLogprobs(
                    frozen, temperature: config.sampler.temperature,
                    cacheFolder: item.isOnline || !frozen.isCached
                        ? nil : Files.userFolder("XDG_CACHE_HOME", ".cache"))
            }
            let isOwn = config.objective.reduction != nil && item.parts.contains(.policy)
            let update = PolicyUpdate(
                networks: networks, objective: objective, phase: item.phase,
                reduction: try isOwn
                    ? config.objective.reduction.map { try Reduction(named: $0.rawValue) }
                        ?? .rowMean : objective.reduction(phase: item.phase.name),
                reductionConstant: isOwn && config.objective.reduction == .constant
                    ? config.objective.reductionConstant : nil,
                sides: Sides(dataKind: item.dataKind),
                microBatchRows: config.train.perDeviceTrainBatchSize,
                trainers: trainers.all.filter { item.parts.contains($0.part) },
                communicator: communicator,
                facts: facts.merging(data[item.dataKind]?.train.facts ?? [:]) { $1 })
            if item.isOnline, item.parts.contains(.policy) {
                update.ptx = try PtxRows(config, component, tokenizer, policy: networks.policy)
            }
            let order = {
                let made = try RunSetup.order(config, plugins.order, catalog: catalog, seed: seed)
                try RunSetup.check(made.needs, given: component.gives, item, config)
                return made
            }
            guard let rows = data[item.dataKind] else {
                preconditionFailure("no rows of kind \(item.dataKind)")
            }
            let loop: any TrainingLoop
            if item.isOnline, let rewards {
                loop = RunSetup.onlineLoop(
                    rows, update, try order(), sampling, rewards, reference, config, trace)
            } else if plan.fitsPrompts(item), let frozen {
                let made = try RunSetup.valueLoop(
                    rows, item, update, promptValues, sampling.of(frozen.model), frozen,
                    reference, config, plugins, catalog, device)
                made.answers = RunSetup.answers(
                    rows, networks.policy, sampling, config, plugins, catalog, device)
                loop = made
            } else {
                let made = try OfflineLoop(
                    rows: RunSetup.offlineRows(rows.train, needs: own),
                    valid: rows.valid.map { RunSetup.offlineRows($0, needs: own) } ?? .none,
                    update: update, reference: reference, sampler: order,
                    sampling: RunSetup.canSample(item, rows, networks.policy) ? sampling : nil,
                    config: config)
                made.answers = RunSetup.answers(
                    rows, networks.policy, sampling, config, plugins, catalog, device)
                loop = made
            }
            return PhaseRun(
                phase: item.phase, loop: loop, update: update, isOnline: item.isOnline,
                length: item.length, parts: item.parts, dataMetrics: rows.train.metrics,
                schedule: { item.schedule($0, $1, config) })
        }
        loop = PhasedLoop(
            phases, trainers: trainers,
            update: try ReferenceUpdate(
                config, planned, promptValues, reference: frozen, policy: policy))
    }

    /// Names the weights of the config's model: the content hash of its folder.
    ///
    /// - Throws: `KeelError` (io).
    func modelHash() throws -> String {
        let path = config.model.path
        let loaded = [model, reference?.model].lazy.compactMap { $0 }.first {
            $0.directory == path && $0.contentHash != nil
        }
        return try loaded?.contentHash ?? ModelDirectory(path).contentHash(on: device)
    }

    /// Rewards for the data of the phases that cannot do without.
    private static func giveRewards(
        _ planned: [PlannedPhase], _ objective: ObjectiveInstance, _ rewards: RowRewards,
        to data: inout [String: RunData]
    ) throws {
        var given: Set<String> = []
        for phase in planned where !phase.isOnline {
            guard RowRewards.areNeeded(objective.needs(phase: phase.phase.name)),
                given.insert(phase.dataKind).inserted
            else { continue }
            try data[phase.dataKind]?.giveRewards(rewards)
        }
    }

    private static func offlineRows(_ part: RunData.Part, needs: [String]) -> OfflineRows {
        needs.contains("group") || needs.contains("group?") ? part.offline.grouped() : part.offline
    }

    /// What the run will hold at most from a step on; of each phase, `count` steps are looked at and no more than
    /// an epoch.
    ///
    /// - Returns: nil where a data sampler fails; it is asked again, and tells, when its rows are needed.
    func memoryPlan(from step: Int = 0, count: Int = .max) -> MemoryPlan? {
        guard let steps = try? loop.plannedPhases(from: step, count: count) else { return nil }
        return try? memory.plan(config, steps: steps)
    }

    /// Refuses a run that the machine has no room for, and tells the plan of one that has.
    ///
    /// - Throws: `KeelError` (config) that says what to change.
    @discardableResult
    func checkMemory(from step: Int = 0) throws -> MemoryPlan? {
        guard let steps = try? loop.plannedPhases(from: step, count: .max),
            let plan = try? memory.plan(config, steps: steps)
        else { return nil }
        try memory.check(plan, config, steps: steps)
        Log.notice(plan.line)
        return plan
    }

    /// Whether `samples.jsonl` can be filled with completions of the rows' prompts.
    private static func canSample(_ phase: PlannedPhase, _ rows: RunData, _ policy: Model) -> Bool {
        policy.architecture.hasLanguageHead
            && !(phase.dataKind == "text" && rows.train.rows.kind == .text)
    }

    private static func onlineLoop(
        _ rows: RunData, _ update: PolicyUpdate, _ order: DataSamplerInstance,
        _ sampling: Sampling, _ rewards: RewardSet, _ reference: ReferenceLogprobs?,
        _ config: RunConfig, _ trace: Trace?
    ) -> OnlineLoop {
        return OnlineLoop(
            prompts: DatasetPrompts(rows.train), valid: rows.valid.map(DatasetPrompts.init),
            maker: RolloutMaker(
                sampling: sampling, rewards: rewards, reference: reference,
                samplesPerPrompt: config.train.numGenerations, trace: trace),
            update: update, sampler: order, config: config)
    }

    private static func facts(
        _ config: RunConfig, _ model: Model, _ tokenizer: Tokenizer
    ) -> [String: Double] {
        let own = [
            "vocab_size": Double(model.vocabularySize),
            "eos_token_id": model.eosIDs.first.map(Double.init) ?? .nan,
            "pad_token_id": tokenizer.padID.map(Double.init) ?? .nan,
        ]
        return RunReading.facts(config).merging(own) { $1 }
    }
}

extension TrainConfig {
    /// Rows of an optimizer step on one rank.
    var rowsPerStep: Int { perDeviceTrainBatchSize * gradientAccumulationSteps }
}

extension DataConfig {
    /// `columns` as plain text; the config reader has checked the types.
    var renames: [String: String] {
        Dictionary(
            columns.compactMap { pair in pair.value.string.map { (pair.key, $0) } },
            uniquingKeysWith: { $1 })
    }
}
