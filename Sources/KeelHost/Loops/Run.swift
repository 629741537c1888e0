import KeelBridge
import KeelCore
import KeelModel
import KeelText
import OrderedCollections

/// A training run: steps, log lines, evaluations, checkpoints, and an end that can be resumed from.
///
/// It belongs to the thread that trains. The watchdog's thread may call `saved` while that one is held inside a
/// plugin's callback: nothing of the run changes then.
package final class Run: @unchecked Sendable {
    private let setup: RunSetup
    private let config: RunConfig
    private let store: CheckpointStore
    private let log: MetricLog
    private let sampleLog: JSONLines
    private let progress: Progress
    /// Steps that are done.
    private(set) var step = 0
    private var tokens = 0
    private var window = StepMetrics()
    private var lossSum = 0.0
    private let started = Clock.now()
    private var startStep = 0
    /// The checkpoint was written between a step and its evaluation.
    private var startsWithEvaluation = false
    /// The end of the last whole step; nil while it is being taken.
    private var boundary: Boundary?
    /// The newest checkpoint that this process wrote or began with.
    private var saved: (step: Int, isEvaluationDue: Bool)?
    /// nil where the last weights are the result.
    private var best: BestModel?
    /// Gets the warnings of the steps.
    var record: RunLog?

    /// Opens the output folder; nothing but a new or resumed run may be in it.
    init(
        setup: RunSetup, checkpoint: Checkpoint?, log: MetricLog, sampleLog: JSONLines,
        progress: Progress
    ) throws {
        self.setup = setup
        config = setup.config
        store = CheckpointStore(directory: config.outputDir)
        self.log = log
        self.sampleLog = sampleLog
        self.progress = progress
        best = BestModel(setup.config, isOnline: setup.isOnline)
        if let checkpoint { try restore(checkpoint) }
    }

    // MARK: - The run

    /// Steps to the end, or until a signal or a failure ends it early.
    ///
    /// - Returns: `ok`, or `stopped` after a signal (a checkpoint was written).
    /// - Throws: `KeelError`; where there is a checkpoint to go on from its code is `stopped`.
    func train() throws -> ExitCode {
        startStep = step
        do {
            try begin()
            setup.profile?.begin()
            progress.begin(total: setup.totalSteps, done: step)
            while step < setup.totalSteps {
                if let signal = Signals.stopRequest { return try stopEarly(signal) }
                try makeStep()
                if Signals.takeSaveRequest()
                    || (config.train.saveSteps > 0 && step % config.train.saveSteps == 0)
                    || setup.loop.isTurn(step),
                    step < setup.totalSteps
                {
                    try save()
                }
            }
        } catch {
            throw saved(after: error)
        }
        try finish()
        return .ok
    }

    /// Takes the first boundary, and makes up for an evaluation that the run before ended in.
    private func begin() throws {
        // Before the first step the weights are those of the start, or of the checkpoint.
        if step > 0 { boundary = try atBoundary() }
        try setup.loop.begin()
        boundary = try atBoundary()
        boundary?.isEvaluationDue = startsWithEvaluation
        let isFirst = step == 0 && config.train.evalOnStart && config.data.valid != nil
        if startsWithEvaluation || isFirst {
            try evaluate()
            boundary = try atBoundary()
        }
    }

    private func makeStep() throws {
        let begin = Clock.now()
        let result = try setup.loop.step(step)
        let end = Clock.now()
        setup.trace?.span(
            "step \(step + 1)", lane: "steps", from: begin, to: end,
            ["loss": .double(result.loss)])
        window.add("perf/step_s", end - begin)
        setup.profile?.step(tokens: result.tokens)
        step += 1
        tokens += result.tokens
        lossSum += result.loss
        window.add("loss", result.loss)
        for (name, value) in result.metrics { window.add(name, value) }
        progress.step(step, of: setup.totalSteps)
        // What follows may fail as well: an evaluation runs plugins.
        boundary = try atBoundary()
        boundary?.isEvaluationDue = isEvaluationDue
        try record(result)
        boundary?.window = window
        if isEvaluationDue {
            try evaluate()
            boundary = try atBoundary()
        }
    }

    /// What a run needs to go on from here.
    private func atBoundary() throws -> Boundary {
        // Until it is there, nothing is: not even the one before fits the weights any more.
        boundary = nil
        return Boundary(
            step: step, optimizerSteps: setup.optimizer.stepCount, tokens: tokens,
            lossSum: lossSum, window: window, loop: try setup.loop.snapshot(nextStep: step),
            objective: try setup.objective.save())
    }

    /// The last step of the run or of a phase: it is logged, evaluated and saved.
    private var isLast: Bool { step == setup.totalSteps || setup.loop.isPhaseEnd(step) }

    private func record(_ result: StepResult) throws {
        // A line of the log is of one phase, and of one reference.
        let mayTurn = isLast || (isEvaluationDue && setup.loop.mayUpdate)
        guard step % config.train.loggingSteps == 0 || mayTurn else { return }
        var means = window.drain()
        var values: OrderedDictionary<String, Double> = [
            "loss": means.removeValue(forKey: "loss") ?? 0, "grad_norm": result.gradNorm,
            "learning_rate": result.learningRate,
            "num_tokens": Double(tokens),
        ]
        values.merge(means) { own, _ in own }
        try write(values)
        if setup.isOnline {
            for line in try setup.loop.samples(step: step) { try sampleLog.append(line) }
        }
    }

    private var isEvaluationDue: Bool {
        let isDue = config.train.evalSteps.map { step % $0 == 0 } ?? false
        return config.data.valid != nil && (isDue || isLast)
    }

    private func write(_ values: OrderedDictionary<String, Double>) throws {
        record?.addWarnings(step: step)
        try log.log(
            step: step, epoch: setup.loop.epoch(after: step), phase: setup.loop.label,
            values: values)
        // A terminal line shows what was measured of the training, and of the calls only what went wrong.
        let shown = values.filter { name, value in
            !name.hasPrefix("perf/") && (value != 0 || !name.hasPrefix("reward_calls/"))
        }
        progress.log(step: step, shown.map { ($0.key, $0.value) })
    }

    private func evaluate() throws {
        let begin = Clock.now()
        var values: OrderedDictionary<String, Double> = [:]
        for (name, value) in try setup.loop.evaluate(step: step) { values["eval_" + name] = value }
        // While values are made for a new reference, the policy is as it was.
        if !setup.loop.isWaiting {
            try best?.consider(
                values, step: step, isStart: step == 0 || !setup.loop.trainsPolicy
            ) { try setup.networks.save(to: $0) }
        }
        let updatesReference = setup.loop.isUpdateDue(values, after: step)
        for (name, value) in setup.loop.updateMetrics(isDue: updatesReference) {
            values[name] = value
        }
        try record(values, since: begin)
        if updatesReference { try setup.loop.updateReference(after: step) }
    }

    /// Logs an evaluation.
    private func record(
        _ values: OrderedDictionary<String, Double>, since begin: Double
    ) throws {
        var values = values
        values["eval_runtime"] = Clock.now() - begin
        setup.trace?.span("evaluate", lane: "steps", from: begin, to: Clock.now())
        // An evaluation that is made up for may have been logged before the run was killed.
        if let last = log.history.last, last["eval_runtime"] != nil, last["step"]?.int == step {
            return
        }
        try write(values)
        if !setup.isOnline {
            for line in try setup.loop.samples(step: step) { try sampleLog.append(line) }
        }
    }

    private func stopEarly(_ signal: Int32) throws -> ExitCode {
        progress.end()
        try save()
        Log.notice(
            "stopped by \(Signals.name(signal)) after step \(step); go on with --resume auto")
        return .stopped
    }

    /// The error that a failed step ends the run with, after a checkpoint of the last good step.
    func saved(after error: any Error) -> KeelError {
        progress.end()
        var failure =
            error as? KeelError
            ?? KeelError("train", "\(error)", at: "step \(step + 1)", code: .failed)
        // A full disk stays what the run ended of, whatever was saved before.
        let isFull = failure.code == .io || failure.code == .cannotCreate
        do {
            // Before the first boundary there is nothing that could be saved.
            if !isFull, boundary != nil || step > 0 { try save() }
        } catch {
            Log.warning("no checkpoint could be written: \(error)")
        }
        if let saved {
            if !isFull { failure.code = .stopped }
            let note = advice(saved.step)
            failure.fix = failure.fix.map { "\($0)\n       \(note)" } ?? note
        } else if failure.code == .stopped {
            // Without a checkpoint there is nothing to go on from.
            failure.code = .failed
        }
        return failure
    }

    private func advice(_ step: Int) -> String {
        "the checkpoint of step \(step) is in \(store.path(step: step)); go on with --resume auto"
    }

    private func finish() throws {
        let seconds = Clock.now() - started
        let steps = Double(max(1, step - startStep))
        let rows = steps * Double(config.train.rowsPerStep)
        try save()
        // A run that had ended already, or was killed while it ended, has this line.
        if log.history.last?["train_runtime"] == nil {
            try log.log(
                step: step, epoch: setup.loop.epoch(after: step),
                values: [
                    "train_runtime": seconds, "train_samples_per_second": rows / seconds,
                    "train_steps_per_second": steps / seconds,
                    "train_loss": lossSum / Double(max(1, step)),
                ])
        }
        try setup.networks.save(to: config.outputDir)
        try best?.finish()
        try writeTrainerState(config.outputDir)
        try log.close()
        try sampleLog.close()
        progress.end()
        for line in setup.profile?.lines ?? [] { Log.notice(line) }
    }

    // MARK: - Checkpoints

    /// Writes the checkpoint of the last boundary, unless it is there.
    ///
    /// - Throws: `KeelError` (io), or (failed) when weights and plugins are not at one boundary.
    private func save() throws {
        guard let boundary, boundary.optimizerSteps == setup.optimizer.stepCount else {
            throw KeelError(
                "checkpoint", "the step was half done, there is nothing to go on from",
                at: "step \(step)", code: .failed)
        }
        guard saved?.step != boundary.step || saved?.isEvaluationDue != boundary.isEvaluationDue
        else { return }
        let begin = Clock.now()
        defer { setup.trace?.span("save", lane: "steps", from: begin, to: Clock.now()) }
        try log.sync()
        try sampleLog.sync()
        setup.loop.flushCaches()
        var state = boundary.state
        for (key, value) in runState { state.append(key, value) }
        try store.save(step: boundary.step, state: state) { folder in
            try setup.networks.save(to: folder)
            try setup.networks.saveReference(to: folder)
            try setup.networks.saveState(to: folder)
            try setup.optimizer.save(to: folder)
            try writeTrainerState(folder)
        }
        saved = (boundary.step, boundary.isEvaluationDue)
        ActiveCalls.advise(advice(boundary.step))
        try store.prune(keeping: config.train.saveTotalLimit, upTo: boundary.step)
        progress.note("checkpoint-\(boundary.step) written")
    }

    /// The part of `keel_state.json` that is the same in every checkpoint of the run.
    private var runState: JSONObject {
        [
            "total_steps": JSON(setup.totalSteps), "plugins": Manifest.list(setup.plugins),
            "data": Manifest.data(setup), "config": config.json, "best": best?.json ?? .null,
        ]
    }

    private func restore(_ checkpoint: Checkpoint) throws {
        let state = checkpoint.state
        step = checkpoint.step
        tokens = state["num_tokens"]?.int ?? 0
        lossSum = state["loss_sum"]?.double ?? 0
        window = StepMetrics(json: state["window"])
        startsWithEvaluation = state["evaluation_due"]?.bool ?? false
        if checkpoint.folder == store.path(step: step) {
            saved = (step, startsWithEvaluation)
            ActiveCalls.advise(advice(step))
        }
        best?.restore(state["best"])
        try setup.optimizer.load(from: checkpoint.folder)
        try setup.networks.loadState(from: checkpoint.folder)
        if let saved = Instance.State(json: state["objective"]) { try setup.objective.load(saved) }
        try setup.loop.restore(state["loop"] ?? [:])
    }

    private func writeTrainerState(_ folder: String) throws {
        let state = log.trainerState(step: step, epoch: setup.loop.epoch(after: step))
        try AtomicWrite.file(
            Files.join(folder, "trainer_state.json"), state.text(pretty: true) + "\n")
    }
}
