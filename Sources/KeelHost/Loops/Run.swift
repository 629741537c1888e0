import KeelBridge
import KeelCore
import KeelModel
import KeelText
import OrderedCollections

/// A training run: steps, log lines, evaluations, checkpoints, and an end that can be resumed from.
package final class Run {
    private let setup: RunSetup
    private let config: RunConfig
    private let store: CheckpointStore
    private let log: MetricLog
    private let sampleLog: JSONLines
    private let progress: Progress
    private var step = 0
    private var tokens = 0
    private var window = StepMetrics()
    private var lossSum = 0.0
    private let started = Clock.now()
    private var startStep = 0
    /// The step of the newest checkpoint that this process wrote or began with.
    private var savedStep: Int?

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
        if let checkpoint { try restore(checkpoint) }
    }

    // MARK: - The run

    /// Steps to the end, or until a signal or a failure ends it early.
    ///
    /// - Returns: `ok`, or `stopped` after a signal (a checkpoint was written).
    /// - Throws: `KeelError`; where a checkpoint could be written its code is `stopped`.
    func train() throws -> ExitCode {
        startStep = step
        progress.begin(total: setup.totalSteps, done: step)
        while step < setup.totalSteps {
            if let signal = Signals.stopRequest { return try stopEarly(signal) }
            let rate = setup.schedule.rate(at: step)
            do {
                let result = try setup.loop.step(step, learningRate: rate)
                step += 1
                try record(result, rate)
                try evaluateIfDue()
            } catch {
                throw saved(after: error)
            }
            if Signals.takeSaveRequest()
                || (config.train.saveSteps > 0 && step % config.train.saveSteps == 0),
                step < setup.totalSteps
            {
                try save()
            }
        }
        try finish()
        return .ok
    }

    private func record(_ result: StepResult, _ rate: Double) throws {
        tokens += result.tokens
        lossSum += result.loss
        window.add("loss", result.loss)
        for (name, value) in result.metrics { window.add(name, value) }
        progress.step(step)
        guard step % config.train.loggingSteps == 0 || step == setup.totalSteps else { return }
        var means = window.drain()
        var values: OrderedDictionary<String, Double> = [
            "loss": means.removeValue(forKey: "loss") ?? 0, "grad_norm": result.gradNorm,
            "learning_rate": rate,
            "num_tokens": Double(tokens),
        ]
        values.merge(means) { own, _ in own }
        try log.log(step: step, epoch: setup.loop.epoch(after: step), values: values)
        progress.log(step: step, values.map { ($0.key, $0.value) })
        if setup.isOnline {
            for line in try setup.loop.samples(step: step) { try sampleLog.append(line) }
        }
    }

    private func evaluateIfDue() throws {
        let isDue = config.train.evalSteps.map { step % $0 == 0 } ?? false
        guard config.data.valid != nil, isDue || step == setup.totalSteps else { return }
        let begin = Clock.now()
        var values: OrderedDictionary<String, Double> = [:]
        for (name, value) in try setup.loop.evaluate(step: step) { values["eval_" + name] = value }
        values["eval_runtime"] = Clock.now() - begin
        try log.log(step: step, epoch: setup.loop.epoch(after: step), values: values)
        progress.log(step: step, values.map { ($0.key, $0.value) })
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
    private func saved(after error: any Error) -> any Error {
        progress.end()
        var failure =
            error as? KeelError
            ?? KeelError("train", "\(error)", at: "step \(step + 1)", code: .failed)
        do {
            try save()
            failure.code = .stopped
            let note =
                "the checkpoint of step \(step) is in \(store.path(step: step)); go on with --resume auto"
            failure.fix = failure.fix.map { "\($0)\n       \(note)" } ?? note
        } catch {
            Log.warning("no checkpoint could be written: \(error)")
            // Without a checkpoint there is nothing to go on from.
            if failure.code == .stopped { failure.code = .failed }
        }
        return failure
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
        try setup.model.save(to: config.outputDir)
        try writeTrainerState(config.outputDir)
        try log.close()
        try sampleLog.close()
        progress.end()
    }

    // MARK: - Checkpoints

    private func save() throws {
        guard savedStep != step else { return }
        try log.sync()
        try sampleLog.sync()
        setup.loop.flushCaches()
        var state: JSONObject = [
            "step": JSON(step), "total_steps": JSON(setup.totalSteps), "num_tokens": JSON(tokens),
            "loss_sum": .double(lossSum), "window": window.json,
            "loop": try setup.loop.snapshot(nextStep: step),
            "plugins": Manifest.list(setup.plugins), "data": Manifest.data(setup),
            "config": setup.config.json,
        ]
        if let saved = try setup.objective.save() { state["objective"] = saved.json }
        try store.save(step: step, state: state) { folder in
            try setup.model.save(to: folder)
            try setup.optimizer.save(to: Files.join(folder, "optimizer.safetensors"))
            try writeTrainerState(folder)
        }
        savedStep = step
        try store.prune(keeping: config.train.saveTotalLimit, upTo: step)
        progress.note("checkpoint-\(step) written")
    }

    private func restore(_ checkpoint: Checkpoint) throws {
        let state = checkpoint.state
        step = checkpoint.step
        if checkpoint.folder == store.path(step: step) { savedStep = step }
        tokens = state["num_tokens"]?.int ?? 0
        lossSum = state["loss_sum"]?.double ?? 0
        window = StepMetrics(json: state["window"])
        try setup.optimizer.load(from: Files.join(checkpoint.folder, "optimizer.safetensors"))
        if let saved = Instance.State(json: state["objective"]) { try setup.objective.load(saved) }
        try setup.loop.restore(state["loop"] ?? [:])
    }

    private func writeTrainerState(_ folder: String) throws {
        let state = log.trainerState(step: step, epoch: setup.loop.epoch(after: step))
        try AtomicWrite.file(
            Files.join(folder, "trainer_state.json"), state.text(pretty: true) + "\n")
    }
}
