import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor
import OrderedCollections

/// Batches from a data set: tokens, reference log-probs, `prepare`, loss, step.
final class OfflineLoop: TrainingLoop {
    private let rows: OfflineRows
    private let valid: OfflineRows
    private let update: PolicyUpdate
    private let reference: ReferenceLogprobs?
    private var sampler: DataSamplerInstance?
    private let makeSampler: () throws -> DataSamplerInstance?
    private let sampling: Sampling?
    private let config: RunConfig
    /// The policy's answers to the validation prompts, where evaluations ask for them.
    var answers: ValidationAnswers?
    /// What a `prepare` over the whole data set gave; nil where there is none, or before it ran.
    private var prepared: PreparedDataset?
    /// What it reported, until the next step logs it.
    private var datasetMetrics = MetricSums()
    private var order: EpochRows
    private var lap = EpochRows.Lap()
    /// The order is that of the rows which `prepare` kept.
    private var hasBegun = false

    /// - Parameters:
    ///   - reference: nil when the objective asks for no `ref_*` column.
    ///   - sampler: makes one that has seen nothing; nil = every row once an epoch, in random order.
    ///   - sampling: how `samples.jsonl` is filled; nil leaves it out.
    init(
        rows: OfflineRows, valid: OfflineRows, update: PolicyUpdate,
        reference: ReferenceLogprobs?,
        sampler: @escaping () throws -> DataSamplerInstance? = { nil }, sampling: Sampling?,
        config: RunConfig
    ) throws {
        self.rows = rows
        self.valid = valid
        self.update = update
        self.reference = reference
        makeSampler = sampler
        self.sampler = try sampler()
        self.sampling = sampling
        self.config = config
        perStep = config.train.rowsPerStep * update.communicator.size
        let needsOld = OldPolicy.isNeeded(update.objective.needs(phase: update.phase.name))
        oldPolicy = needsOld ? update.networks.oldPolicy : nil
        seed = UInt64(config.train.seed)
        order = OfflineLoop.order(
            rows, Array(0..<rows.count), perStep, self.sampler, update, seed)
        update.keepsRows = order.hasFeedback
    }

    var stepsPerEpoch: Int { order.stepsPerEpoch }
    func steps(epochs: Double) -> Int { max(1, order.steps(epochs: epochs)) }
    func epoch(after steps: Int) -> Double { order.progress(after: steps) }

    /// Rows of an optimizer step over all ranks.
    private let perStep: Int
    private let seed: UInt64
    /// nil when the objective asks for no `old_*` column.
    private let oldPolicy: OldPolicy?

    /// The order of the rows at some places, which a sampler may choose by their lengths, what the data says of
    /// them, what a `prepare` over all of them gave, and the data set rows.
    private static func order(
        _ rows: OfflineRows, _ places: [Int], _ perStep: Int, _ sampler: DataSamplerInstance?,
        _ update: PolicyUpdate, _ seed: UInt64, given: [String: Column] = [:],
        lap: EpochRows.Lap = EpochRows.Lap()
    ) -> EpochRows {
        EpochRows(
            count: places.count, perStep: perStep, sampler: sampler,
            columns: { rows.orderColumns(of: places, update.sides).merging(given) { $1 } },
            row: { rows.raw(rows.rows.index(of: places[$0])) }, seed: seed, lap: lap)
    }

    /// The order of the rows that are kept, as far as is known.
    private func makeOrder() -> EpochRows {
        let places = prepared?.kept ?? Array(0..<rows.count)
        return OfflineLoop.order(
            rows, places, perStep, sampler, update, seed,
            given: prepared?.columns(of: places) ?? [:], lap: lap)
    }

    private var preparesDataset: Bool { update.phase.flags.contains(.prepareDataset) }

    func begin() throws {
        hasBegun = true
        guard preparesDataset else { return }
        if prepared == nil {
            let context = update.context(step: 0, epoch: 0)
            let made = try PreparedDataset.make(
                rows, update: update, reference: reference, context: context)
            prepared = made.dataset
            datasetMetrics = made.reported
            order = makeOrder()
        }
        guard let prepared, prepared.kept.count < rows.count else { return }
        Log.notice(
            "\(update.objective.component.title) keeps \(prepared.kept.count) of \(rows.count) rows"
        )
    }

    /// What `prepare` said of all rows goes, and what a data sampler remembers of them.
    func renew(at step: Int) throws {
        lap = order.lap(at: step)
        prepared = nil
        datasetMetrics = MetricSums()
        sampler = try makeSampler()
        update.forgetValues()
        order = makeOrder()
        hasBegun = false
    }

    func planned(from step: Int, count: Int) throws -> [PlannedRows] {
        guard hasBegun || !preparesDataset else {
            // Which rows are kept is not known yet: the longest together are the worst there can be.
            let shapes = rows.rows.shapes.sorted {
                $0.tokens > $1.tokens
            }
            return [PlannedRows(step: step, rows: Array(shapes.prefix(perStep)))]
        }
        let end = step - order.stepInEpoch(step) + stepsPerEpoch
        return try (step..<min(step + count, end)).map { step in
            let places = try order.rows(of: step).map { prepared?.kept[$0] ?? $0 }
            return PlannedRows(step: step, rows: places.map { rows.rows.shape(of: $0) })
        }
    }

    func step(_ step: Int) throws -> StepResult {
        oldPolicy?.begin(step: step, isEpochStart: order.stepInEpoch(step) == 0)
        let numbers = try order.rows(of: step)
        let places = numbers.map { prepared?.kept[$0] ?? $0 }
        let chosen = rows[places]
        let context = update.context(step: step, epoch: order.progress(after: step))
        var columns = try constants(rows, places)
        var reported = MetricSums()
        if let prepared {
            columns.columns.merge(prepared.columns(of: places)) { $1 }
            swap(&reported, &datasetMetrics)
        } else {
            reported = try update.objective.prepare(
                &columns, source: source(rows, places), context: context)
        }
        var outcome = try update.run(
            rows: chosen, columns: columns, rates: update.rates(at: step), context: context
        ) { try order.feedback(rows: numbers, batch: $0, context: context) }
        outcome.metrics.merge(reported)
        outcome.metrics.merge(order.takeMetrics())
        return StepResult(outcome)
    }

    /// What `prepare` may ask for over the rows at some places.
    private func source(_ rows: OfflineRows, _ places: [Int]) -> ColumnSource {
        let source = update.source(of: rows[places])
        let needs = update.objective.needs(phase: update.phase.name)
        guard Mismatched.areNeeded(needs) else { return source }
        let context = update.networks.policy.contextLength
        let length = min(config.data.maxLength ?? context, context)
        return Mismatched(rows, maxLength: length).source(
            of: places, beside: source, needs: needs, update: update, reference: reference)
    }

    /// The constants of the rows at some places, before `prepare`.
    private func constants(_ rows: OfflineRows, _ places: [Int]) throws -> ColumnBatch {
        var columns = rows.columns(of: places, update.sides)
        if let reference {
            let logprobs = try reference.logprobs(rows[places]).map { $0.map(Double.init) }
            columns.addTokenColumn("ref_logprobs", logprobs, update.sides)
        }
        if let oldPolicy {
            let logprobs = try oldPolicy.logprobs(rows[places])
            columns.addTokenColumn("old_logprobs", logprobs, update.sides)
        }
        return columns
    }

    func evaluate(step: Int) throws -> OrderedDictionary<String, Double> {
        var total = StepMetrics()
        let size = config.train.perDeviceEvalBatchSize
        let context = update.context(step: step, epoch: order.progress(after: step))
        let whole =
            preparesDataset && valid.count > 0
            ? try PreparedDataset.make(
                valid, update: update, reference: reference, context: context,
                mayKeepNone: true) : nil
        for start in stride(from: 0, to: valid.count, by: size) {
            let places = Array(start..<min(start + size, valid.count))
            let rows = valid[places]
            var columns = try constants(valid, places)
            var reported = MetricSums()
            if let whole {
                columns.columns.merge(whole.dataset.columns(of: places)) { $1 }
                if start == 0 { reported = whole.reported }
            } else {
                reported = try update.objective.prepare(
                    &columns, source: source(valid, places), context: context)
            }
            var outcome = try update.run(
                rows: rows, columns: columns, rates: nil, context: context)
            outcome.metrics.merge(reported)
            let counts = Reduction.denominator(of: columns)
            total.add(
                "loss", outcome.loss,
                weight: update.reduction == .tokenMean ? counts.tokens : counts.rows)
            for (name, value) in StepResult(outcome).metrics {
                total.add(name, value, weight: Double(rows.count))
            }
        }
        var metrics = total.drain()
        if let answers { metrics.merge(try answers.metrics(context)) { own, _ in own } }
        return metrics
    }

    func samples(step: Int) throws -> [JSONObject] {
        guard let sampling else { return [] }
        let shown = valid.count == 0 ? rows : valid
        return try sampling.generate(
            shown.prompts(4), samplesPerPrompt: 1, stream: UInt64(update.firstStep + step),
            place: "samples"
        ).map {
            [
                "step": JSON(update.firstStep + step), "prompt": .string($0.promptText),
                "completion": .string($0.text),
            ]
        }
    }

    func snapshot(nextStep: Int) throws -> LoopSnapshot {
        let (state, prepared, lap) = (try order.snapshot(nextStep: nextStep), prepared, lap)
        return LoopSnapshot {
            var object = JSONObject()
            if let state { object["order"] = state.json }
            if let prepared { object["dataset"] = prepared.json }
            if lap.step > 0 { object["lap"] = lap.json }
            return .object(object)
        }
    }

    func restore(_ state: JSON) throws {
        lap = EpochRows.Lap(json: state["lap"])
        if let saved = state["dataset"] {
            prepared = try PreparedDataset(rows: rows.count, json: saved)
        }
        // Only then: an order counts the rows that are kept.
        order = makeOrder()
        try order.restore(state["order"])
    }

    func flushCaches() { reference?.flush() }
}
