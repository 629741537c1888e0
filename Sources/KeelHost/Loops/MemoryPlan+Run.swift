import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor

/// Where the numbers of a memory plan come from: config, data and the models' shapes.
struct RunMemory {
    /// A micro-batch: its packed tokens and targets, and the step that has it.
    struct Batch {
        var rows = 0
        var targets = 0
        var step = 0
    }

    let heads: HeadPlan
    let phases: [PlannedPhase]
    /// Columns that the phases need.
    let needs: [String]
    /// The loss is one over whole groups.
    let isCoupled: Bool
    let threads: Int
    /// Tokens of the longest prompt of the online phases; nil without one.
    let longestPrompt: Int?
    /// Bytes of the process before any model is loaded.
    let resident = Machine.residentBytes

    /// Libraries' own products, compiled kernels and what the allocator holds back.
    private static let overhead = 16 << 20

    /// The plan of the run, or of a run with another config.
    ///
    /// - Parameter steps: the rows of the steps to come by phase; none before they are known.
    func plan(
        _ config: RunConfig, steps: [(phase: String, rows: [PlannedRows])] = []
    ) throws -> MemoryPlan {
        var plan = MemoryPlan()
        plan.keep(MemoryPlan.process, resident + RunMemory.overhead)
        let outputs: Outputs? =
            heads.hasRewardHead ? (isLanguage ? [.language, .score] : .score) : nil
        let directory = try ModelDirectory(config.model.path, outputs: outputs)
        // A config.json that is not the weights' own would plan for another model.
        _ = try directory.match()
        let policy = directory.architecture
        let lora = try adapter(config)
        add(policy, config, trained: lora.map { $0.parameterCount(in: policy) }, to: &plan)
        try addOthers(config, policy, hasAdapter: lora != nil, to: &plan)
        let memory = PassMemory(
            policy, dtype: config.dtype, lora: lora,
            recomputes: config.train.gradientCheckpointing, threads: threads)
        let critic = try heads.hasCritic ? criticArchitecture(config) : nil
        for (name, rows) in steps {
            guard let phase = phases.first(where: { $0.phase.name == name }) else { continue }
            var most = 0
            for batch in rows.flatMap({ batches($0, phase, config) }) {
                let bytes = activations(batch, phase, memory, critic, config)
                if bytes > most { plan.longest = (batch.rows, batch.step + 1) }
                most = max(most, bytes)
            }
            plan.pass("activations", most)
        }
        if config.train.ptxCoef > 0 {
            let rows = min(
                config.train.ptxBatchSize ?? .max, config.train.perDeviceTrainBatchSize)
            let longest = min(config.data.maxLength ?? .max, policy.contextLength)
            let tokens = rows * longest
            plan.pass("pre-training rows", memory.training(rows: tokens, targets: tokens))
        }
        if let longestPrompt { addGeneration(longestPrompt, policy, config, to: &plan) }
        return plan
    }

    /// The micro-batches of a step as a config cuts them.
    private func batches(
        _ step: PlannedRows, _ phase: PlannedPhase, _ config: RunConfig
    ) -> [Batch] {
        var size = config.train.perDeviceTrainBatchSize
        if isCoupled {
            let group = config.train.numGenerations
            size = phase.isOnline ? max(1, size / group) * group : step.rows.count
        }
        return step.batches(
            of: size, includesLast: CurrentColumns(needs: needs).contains(.scores))
    }

    /// Refuses a plan that the machine has no room for.
    ///
    /// - Throws: `KeelError` (config) that says what to change.
    func check(
        _ plan: MemoryPlan, _ config: RunConfig,
        steps: [(phase: String, rows: [PlannedRows])] = []
    ) throws {
        var changes: [(String, () throws -> MemoryPlan)] = []
        func offer(_ text: String, _ change: (inout RunConfig) -> Void) {
            var other = config
            change(&other)
            changes.append((text, { [other] in try self.plan(other, steps: steps) }))
        }
        if !config.train.gradientCheckpointing {
            offer("set train.gradient_checkpointing to true") {
                $0.train.gradientCheckpointing = true
            }
        }
        let rows = config.train.perDeviceTrainBatchSize
        if rows > 1 {
            let more = config.train.gradientAccumulationSteps * rows
            offer(
                "set train.per_device_train_batch_size to 1 and gradient_accumulation_steps to \(more)"
            ) {
                $0.train.perDeviceTrainBatchSize = 1
                $0.train.gradientAccumulationSteps = more
            }
        }
        if config.model.lora == nil, config.model.adapter == nil {
            offer("train an adapter: \"model\": {\"lora\": {}}") { $0.model.lora = LoRASection() }
        }
        if config.model.dtype != .bf16 {
            offer("set model.dtype to \"bf16\"") { $0.model.dtype = .bf16 }
        }
        if rows > 1, !config.train.gradientCheckpointing {
            offer("set both train.gradient_checkpointing and train.per_device_train_batch_size 1") {
                $0.train.gradientCheckpointing = true
                $0.train.perDeviceTrainBatchSize = 1
                $0.train.gradientAccumulationSteps *= rows
            }
        }
        try plan.check(
            limit: Machine.memoryLimit, at: config.places.place(of: "train"), changes: changes)
    }

    /// Something reads log-probs or writes texts.
    private var isLanguage: Bool {
        phases.contains(where: \.isOnline) || CurrentColumns(needs: needs).contains(.logprobs)
    }

    private func adapter(_ config: RunConfig) throws -> LoRAConfig? {
        if let folder = config.model.adapter {
            let path = Files.join(folder, "adapter_config.json")
            return try LoRAConfig(JSON.parse(try Files.read(path), name: path), path: path)
        }
        return try config.model.lora?.config(at: config.places.place(of: "model.lora"))
    }

    // MARK: - What stays

    /// The policy's cells, and what trains them: masters, two moments and gradients in f32.
    private func add(
        _ policy: Architecture, _ config: RunConfig, trained: Int?, to plan: inout MemoryPlan
    ) {
        let all = policy.weights.reduce(0) { $0 + $1.count }
        let isPolicyTrained = phases.contains { $0.parts.contains(.policy) }
        var cells = isPolicyTrained ? trained ?? all : 0
        if trained == nil, !isPolicyTrained, heads.hasRewardHead { cells = policy.hiddenSize }
        plan.keep("weights", (all + (trained ?? 0)) * config.dtype.size)
        if config.dtype == .bf16 { plan.keep("masters", 4 * (trained ?? all)) }
        if OldPolicy.isNeeded(needs), !phases.contains(where: \.isOnline) {
            // The copy, and a place for the policy while the copy stands in for it.
            plan.keep("old policy", 2 * cells * config.dtype.size)
        }
        plan.keep("moments", 8 * cells)
        plan.keep("gradients", 4 * cells)
    }

    private func addOthers(
        _ config: RunConfig, _ policy: Architecture, hasAdapter: Bool, to plan: inout MemoryPlan
    ) throws {
        // A reference that follows the policy has masters.
        let size =
            config.dtype.size + (config.dtype == .bf16 && ReferenceSync.isOn(config) ? 4 : 0)
        func cells(_ architecture: Architecture) -> Int {
            architecture.weights.reduce(0) { $0 + $1.count }
        }
        if RunChecks.holdsReference(
            config, needs: needs, phases: phases,
            valuesPrompts: CurrentColumns(needs: needs).contains(.seqValues))
        {
            switch config.reference {
            case .none: break
            case .initial: plan.keep("reference", hasAdapter ? 0 : cells(policy) * size)
            case .path(let path, _):
                plan.keep("reference", try cells(ModelDirectory(path).architecture) * size)
            }
        }
        if heads.hasCritic {
            let count = try cells(criticArchitecture(config))
            plan.keep("critic", count * (16 + (config.dtype == .bf16 ? 2 : 0)))
        }
        if let kind = heads.valueHead {
            let hidden = policy.hiddenSize
            let count =
                [.linear: hidden, .attentionPool: 4 * hidden * hidden][kind] ?? hidden * hidden
            plan.keep("value head", 16 * count)
        }
        // A folder is loaded once for each type.
        var seen: Set<String> = []
        for reward in config.rewards {
            let models = [
                reward.model.map { ($0.path, $0.dtype) }, reward.judge.map { ($0.path, $0.dtype) },
            ]
            for (path, dtype) in models.compactMap({ $0 }) {
                guard seen.insert("\(path) \(dtype.rawValue)").inserted else { continue }
                plan.keep(
                    "reward models",
                    try cells(ModelDirectory(path).architecture) * (dtype == .bf16 ? 2 : 4))
            }
        }
    }

    private func criticArchitecture(_ config: RunConfig) throws -> Architecture {
        let path =
            config.critic.path ?? config.rewards.lazy.compactMap(\.model?.path).first
            ?? config.model.path
        return try ModelDirectory(path, outputs: .score).architecture
    }

    // MARK: - What comes and goes

    private func activations(
        _ batch: Batch, _ phase: PlannedPhase, _ memory: PassMemory, _ critic: Architecture?,
        _ config: RunConfig
    ) -> Int {
        let trainsPolicy =
            phase.parts.contains(.policy) || phase.parts.contains(.rewardHead)
        var bytes =
            trainsPolicy
            ? memory.training(rows: batch.rows, targets: batch.targets, hasLogits: isLanguage)
            : memory.scoring(rows: batch.rows, targets: batch.targets, hasLogits: isLanguage)
        if let critic {
            let own = PassMemory(
                critic, dtype: config.dtype, recomputes: config.train.gradientCheckpointing,
                threads: threads)
            bytes +=
                phase.parts.contains(.critic)
                ? own.training(rows: batch.rows, targets: batch.targets, hasLogits: false)
                : own.scoring(rows: batch.rows, targets: batch.targets, hasLogits: false)
        }
        return bytes
    }

    /// The cache of the completions decoded at once, and what reads the finished ones.
    private func addGeneration(
        _ longestPrompt: Int, _ policy: Architecture, _ config: RunConfig,
        to plan: inout MemoryPlan
    ) {
        let memory = PassMemory(policy, dtype: config.dtype, threads: threads)
        let room = min(config.data.maxCompletionLength ?? 512, policy.contextLength)
        let atOnce = min(
            config.sampler.batchSize, config.train.rolloutBatchSize ?? config.train.rowsPerStep)
        let prompts = max(1, atOnce / max(1, config.train.numGenerations)) * longestPrompt
        let tokens = min(config.sampler.cacheTokens ?? .max, prompts + atOnce * room)
        // The cache grows by half of what it was; logits go through lists of floats.
        let logits = 4 * 4 * atOnce * policy.vocabularySize
        plan.pass(
            "key-value cache",
            memory.cachePerToken * tokens * 5 / 4
                + memory.scoring(rows: prompts, targets: atOnce) + logits + memory.packedWeights)
        let rows = config.train.rolloutBatchSize ?? config.train.rowsPerStep
        let scored = min(SequenceScorer.tokens, min(SequenceScorer.tokens, rows) * room)
        plan.pass("scoring passes", memory.scoring(rows: scored + longestPrompt, targets: scored))
    }
}
