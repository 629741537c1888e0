import KeelBridge
import KeelCore
import KeelData
import KeelModel
import OrderedCollections

/// Batches from the policy itself: prompts, generate, score, `prepare`, several passes of loss and step.
final class OnlineLoop: TrainingLoop {
    private let prompts: DatasetPrompts
    private let valid: DatasetPrompts?
    private let maker: RolloutMaker
    private let update: PolicyUpdate
    private let config: RunConfig
    /// Of prompts, by rollouts.
    private let order: EpochRows
    /// Optimizer steps that one rollout serves.
    private let stepsPerRollout: Int
    private let rowsPerStep: Int
    private var scorer: SequenceScorer {
        SequenceScorer(
            model: update.networks.policy, temperature: update.networks.temperature)
    }
    /// The rollout in use: its rows, and its columns as `prepare` left them.
    private var rollout: (number: Int, rows: [TokenizedRow], columns: ColumnBatch)?
    private var lastSamples: [JSONObject] = []
    /// Batches of prompts that dynamic sampling has drawn so far.
    private var batchesDrawn = 0
    private var hasToldShortage = false
    private let promptsPerRollout: Int
    private var collapse: CollapseGuard
    private let referenceSync: ReferenceSync?
    /// Whether `old_logprobs` come from a pass of the training kernels instead of the sampler's own record;
    /// nil until the first rollout has been measured (decision 25).
    private var recomputesLogprobs: Bool?
    /// The most a recorded log-prob may differ from the training pass to be used in its place.
    private static let logprobTolerance = 1e-3

    init(
        prompts: DatasetPrompts, valid: DatasetPrompts?, maker: RolloutMaker, update: PolicyUpdate,
        sampler: DataSamplerInstance, config: RunConfig
    ) {
        self.prompts = prompts
        self.valid = valid
        self.maker = maker
        self.update = update
        self.config = config
        collapse = CollapseGuard(config.train)
        referenceSync = ReferenceSync(update.networks, config)
        rowsPerStep = config.train.rowsPerStep * update.communicator.size
        let rolloutRows = config.train.rolloutBatchSize ?? rowsPerStep
        stepsPerRollout = config.train.numIterations * max(1, rolloutRows / rowsPerStep)
        promptsPerRollout = rolloutRows / maker.samplesPerPrompt
        order = EpochRows(
            count: prompts.count, perStep: promptsPerRollout, sampler: sampler,
            columns: {
                ["prompt_length": Column(ints: prompts.rows.shapes.map { Int32($0.prompt) })]
            },
            row: { prompts.json($0) })
        update.keepsRows = order.hasFeedback
    }

    var stepsPerEpoch: Int { order.stepsPerEpoch * stepsPerRollout }

    func epoch(after steps: Int) -> Double {
        let part = Double(steps % stepsPerRollout) / Double(stepsPerRollout)
        let before = order.progress(after: steps / stepsPerRollout)
        return before + part * (order.progress(after: steps / stepsPerRollout + 1) - before)
    }

    func begin() {}

    func planned(from step: Int, count: Int) throws -> [PlannedRows] {
        let end = (step / stepsPerEpoch + 1) * stepsPerEpoch
        let context = update.networks.policy.contextLength
        let room = maker.sampling.maxNewTokens
        return try (step..<min(step + count, end)).map { step in
            // As if every completion went to its limit.
            let rows = try order.rows(of: step / stepsPerRollout).flatMap { number in
                var shape = prompts.rows.shape(of: number)
                shape.completions = [max(1, min(room, context - shape.prompt))]
                return [RowShape](repeating: shape, count: maker.samplesPerPrompt)
            }
            let (start, size) = (
                step % stepsPerRollout * rowsPerStep % max(1, rows.count), rowsPerStep
            )
            return PlannedRows(
                step: step, rows: Array(rows[start..<min(start + size, rows.count)]))
        }
    }

    func step(_ step: Int) throws -> StepResult {
        let number = step / stepsPerRollout
        let context = update.context(step: step, epoch: epoch(after: step))
        var rolloutMetrics: OrderedDictionary<String, Double> = [:]
        var resetsReference = false
        if rollout?.number != number {
            var made = try make(number, context)
            try settleLogprobs(&made.rollout)
            var columns = made.rollout.columns()
            columns.rowJSON = made.prompts.flatMap {
                repeatElement($0.json, count: maker.samplesPerPrompt)
            }
            let health = RolloutHealth(made.rollout)
            try collapse.look(at: health, step: context.step)
            try addOwnColumns(
                to: &columns, rows: made.rollout.rows, of: made.prompts, number, context)
            let begin = Clock.now()
            let reported = try update.objective.prepare(
                &columns, source: update.source(of: made.rollout.rows), context: context)
            maker.trace?.span("prepare", lane: "run", from: begin, to: Clock.now())
            rollout = (number, made.rollout.rows, columns)
            for (name, value) in health.metrics { rolloutMetrics[name] = value }
            if let referenceSync {
                resetsReference = referenceSync.resets(kl: health.sequenceKL)
                rolloutMetrics["reference/resets"] = resetsReference ? 1 : 0
            }
            for (name, value) in reported.values { rolloutMetrics[name] = value }
            for (name, value) in made.rollout.metrics { rolloutMetrics[name] = value }
            lastSamples = made.samples
        }
        guard let rollout else { preconditionFailure("no rollout at step \(step)") }

        // The rows of this step: pass after pass over the rollout, in order. The last rollout of an epoch
        // may be short; its rows are spread over as many steps.
        let perPass = stepsPerRollout / config.train.numIterations
        let part = step % stepsPerRollout % perPass
        let start = min(part * rollout.rows.count / perPass, rollout.rows.count - 1)
        let range = start..<max(start + 1, (part + 1) * rollout.rows.count / perPass)
        let begin = Clock.now()
        let outcome = try update.run(
            rows: Array(rollout.rows[range]), columns: rollout.columns.slice(range),
            rates: update.rates(at: step), context: context
        ) {
            let used = rollout.rows[range].compactMap { prompts.rows.place(ofIndex: $0.index) }
            try order.feedback(rows: used, batch: $0, context: context)
        }
        maker.trace?.span("update", lane: "run", from: begin, to: Clock.now())
        // Last: a step that fails before is done again from a checkpoint whose reference has not moved.
        referenceSync?.after(steps: context.step + 1, resets: resetsReference)
        var result = StepResult(outcome)
        for (name, value) in order.takeMetrics().values { result.metrics[name] = value }
        for (name, value) in rolloutMetrics { result.metrics[name] = value }
        return result
    }

    /// The completions of a rollout with their scores, and its prompts.
    ///
    /// With dynamic sampling it takes as many batches of prompts as it needs; the next one goes on behind them.
    private func make(
        _ number: Int, _ context: CallContext
    ) throws -> (rollout: Rollout, samples: [JSONObject], prompts: [Prompt]) {
        guard config.train.dynamicSampling else {
            let chosen = try order.rows(of: number).map { prompts[$0] }
            let made = try maker.make(
                chosen, stream: UInt64(number), place: place("rollout"), purpose: .training,
                context: context)
            return (made.rollout, made.samples, chosen)
        }
        let rule = DynamicSampling(
            maxBatches: config.train.maxGenBatches, metric: config.train.filterReward)
        let first = batchesDrawn
        let made = try maker.make(
            promptsPerRollout, choosing: rule,
            from: { batch in
                let rows = try order.rows(of: first + batch)
                return (rows.map { prompts[$0] }, UInt64(first + batch))
            }, place: place("rollout"), context: context)
        batchesDrawn = first + made.batches
        if (made.rollout.metrics["dynamic_sampling/groups"] ?? 0) < Double(promptsPerRollout),
            !hasToldShortage
        {
            hasToldShortage = true
            Log.warning(
                "step \(context.step + 1): \(config.train.maxGenBatches) batches of prompts did not fill a roll-out with groups "
                    + "whose rewards differ; it is as full as it is (train.max_gen_batches)")
        }
        return (made.rollout, made.samples, made.prompts)
    }

    /// The draws of another phase than `policy` are its own.
    private func place(_ name: String) -> String {
        update.phase.name == "policy" ? name : "\(name)/\(update.phase.name)"
    }

    /// Columns that only some objectives ask for: the critic's values before the first pass over a rollout, the
    /// value after a response, the reward of the likeliest response.
    private func addOwnColumns(
        to columns: inout ColumnBatch, rows: [TokenizedRow], of prompts: [Prompt], _ number: Int,
        _ context: CallContext
    ) throws {
        let needs = Set(update.objective.needs(phase: update.phase.name))
        if needs.contains("old_values") || needs.contains("old_values?") {
            columns.columns["old_values"] = try update.constants("values", of: rows)
        }
        if needs.contains("bootstrap_values") {
            columns.columns["bootstrap_values"] = try update.constants(
                "bootstrap_values", of: rows)
        }
        if needs.contains("greedy_rewards") {
            columns.columns["greedy_rewards"] = Column(
                try maker.greedyRewards(
                    prompts, stream: UInt64(number), place: place("greedy"), context: context))
        }
    }

    /// Compares the sampler's log-probs with the training pass at the first rollout, and acts on it from then on.
    private func settleLogprobs(_ rollout: inout Rollout) throws {
        guard recomputesLogprobs != false else { return }
        let own = try scorer.logprobs(rollout.rows).map { $0.map(Double.init) }
        if recomputesLogprobs == nil {
            let worst =
                zip(own, rollout.oldLogprobs).flatMap { zip($0, $1).map { abs($0 - $1) } }.max()
                ?? 0
            let differs = worst > OnlineLoop.logprobTolerance
            recomputesLogprobs = differs
            Log.notice(
                "log-probs recorded while sampling differ from the training pass by at most \(worst); "
                    + "old_logprobs are \(differs ? "recomputed" : "the recorded ones")")
        }
        if recomputesLogprobs == true { rollout.oldLogprobs = own }
    }

    func evaluate(step: Int) throws -> OrderedDictionary<String, Double> {
        guard let valid else { return [:] }
        let once = RolloutMaker(
            sampling: maker.sampling, rewards: maker.rewards, reference: maker.reference,
            samplesPerPrompt: 1)
        // The same draws at every evaluation: the curve shows the model, not the dice.
        let context = update.context(step: step, epoch: epoch(after: step))
        let made = try once.make(
            valid.all, stream: 0, place: "evaluate", purpose: .evaluation, context: context)
        var metrics = made.rollout.metrics
        for name in ["reward_std", "frac_reward_zero_std"] { metrics[name] = nil }
        metrics = metrics.filter {
            !$0.key.hasPrefix("reward_calls/") && !$0.key.hasPrefix("perf/")
        }
        if let ref = made.rollout.refLogprobs {
            let kl = zip(made.rollout.oldLogprobs, ref).map { own, ref in
                zip(own, ref).reduce(0) { $0 + $1.0 - $1.1 }
            }
            metrics["objective/kl"] = Statistics.mean(kl)
        }
        return metrics
    }

    func samples(step: Int) -> [JSONObject] {
        lastSamples.prefix(8).map { SampleLine.make(step: update.firstStep + step, $0) }
    }

    func snapshot(nextStep: Int) throws -> LoopSnapshot {
        // The order is asked for with the next rollout; inside one that is the rollout after it.
        let isInside = rollout?.number == nextStep / stepsPerRollout
        let nextRollout = nextStep / stepsPerRollout + (isInside ? 1 : 0)
        let isDynamic = config.train.dynamicSampling
        let order = try order.snapshot(nextStep: isDynamic ? batchesDrawn : nextRollout)
        let batches = isDynamic ? batchesDrawn : nil
        let rewards = try maker.rewards.snapshot()
        let (rollout, samples) = (isInside ? rollout : nil, lastSamples)
        let (recomputes, watch) = (recomputesLogprobs, collapse.json)
        return LoopSnapshot {
            var state = JSONObject()
            if let order { state["order"] = order.json }
            rewards.write(into: &state)
            state["collapse"] = watch
            if let batches { state["batches_drawn"] = JSON(batches) }
            if let recomputes { state["recomputes_logprobs"] = .bool(recomputes) }
            if let rollout {
                state["rollout"] = [
                    "number": JSON(rollout.number), "rows": .array(rollout.rows.map(\.json)),
                    "columns": rollout.columns.columnsJSON,
                    "samples": .array(samples.map { .object($0) }),
                ]
            }
            return .object(state)
        }
    }

    func restore(_ state: JSON) throws {
        try order.restore(state["order"])
        try maker.rewards.restore(state)
        recomputesLogprobs = state["recomputes_logprobs"]?.bool
        collapse.restore(state["collapse"])
        batchesDrawn = state["batches_drawn"]?.int ?? 0
        guard let stored = state["rollout"], let number = stored["number"]?.int else { return }
        let rows = try (stored["rows"]?.array ?? []).map { try TokenizedRow(json: $0) }
        var columns = try ColumnBatch(rows: rows.count, columnsJSON: stored["columns"] ?? [:])
        columns.rowJSON = rows.map {
            prompts.rows.place(ofIndex: $0.index).map(prompts.json) ?? .null
        }
        columns.rowIDs = rows.map { UInt64($0.index) }
        columns.tokens = rows.map { $0.prompt + ($0.completions.first ?? []) }
        columns.promptLengths = rows.map(\.prompt.count)
        rollout = (number, rows, columns)
        lastSamples = (stored["samples"]?.array ?? []).compactMap(\.object)
    }

    func flushCaches() {}
}
