import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor
import OrderedCollections

/// Batches from a data set: tokens, reference log-probs, `prepare`, loss, step.
final class OfflineLoop: TrainingLoop {
    private let rows: [TokenizedRow]
    private let valid: [TokenizedRow]
    private let rawRow: (Int) -> JSON
    private let rawValidRow: (Int) -> JSON
    private let update: PolicyUpdate
    private let reference: ReferenceLogprobs?
    private let sampler: DataSamplerInstance
    private let sampling: Sampling?
    private let config: RunConfig
    /// What a `prepare` over the whole data set gave; nil where there is none, or before it ran.
    private var prepared: PreparedDataset?
    /// What it reported, until the next step logs it.
    private var datasetMetrics = MetricSums()
    private var order: EpochRows

    /// - Parameters:
    ///   - rawRow: the data set row behind a tokenised one; `rawValidRow` likewise.
    ///   - reference: nil when the objective asks for no `ref_*` column.
    ///   - sampling: how `samples.jsonl` is filled; nil leaves it out.
    init(
        rows: [TokenizedRow], valid: [TokenizedRow], rawRow: @escaping (Int) -> JSON,
        rawValidRow: @escaping (Int) -> JSON, update: PolicyUpdate, reference: ReferenceLogprobs?,
        sampler: DataSamplerInstance, sampling: Sampling?, config: RunConfig
    ) {
        self.rows = rows
        self.valid = valid
        self.rawRow = rawRow
        self.rawValidRow = rawValidRow
        self.update = update
        self.reference = reference
        self.sampler = sampler
        self.sampling = sampling
        self.config = config
        perStep = config.train.rowsPerStep * update.communicator.size
        order = OfflineLoop.order(rows, rawRow, perStep, sampler, update)
        update.keepsRows = order.hasFeedback
    }

    var stepsPerEpoch: Int { order.stepsPerEpoch }
    func epoch(after steps: Int) -> Double { order.progress(after: steps) }

    /// Rows of an optimizer step over all ranks.
    private let perStep: Int

    /// The order of some rows, which a sampler may choose by their lengths and data set rows.
    private static func order(
        _ rows: [TokenizedRow], _ rawRow: @escaping (Int) -> JSON, _ perStep: Int,
        _ sampler: DataSamplerInstance, _ update: PolicyUpdate
    ) -> EpochRows {
        EpochRows(
            count: rows.count, perStep: perStep, sampler: sampler,
            columns: ColumnBatch.lengths(of: rows, prefixes: update.prefixes),
            row: { rawRow(rows[$0].index) })
    }

    private var preparesDataset: Bool { update.phase.flags.contains(.prepareDataset) }

    func begin() throws {
        guard preparesDataset else { return }
        if prepared == nil {
            let context = update.context(step: 0, epoch: 0)
            let made = try PreparedDataset.make(
                rows, rawRow, update: update, reference: reference, context: context)
            prepared = made.dataset
            datasetMetrics = made.reported
        }
        guard let prepared else { return }
        order = OfflineLoop.order(
            prepared.kept.map { rows[$0] }, rawRow, perStep, sampler, update)
        guard prepared.kept.count < rows.count else { return }
        Log.notice(
            "\(update.objective.component.title) keeps \(prepared.kept.count) of \(rows.count) rows"
        )
    }

    func step(_ step: Int) throws -> StepResult {
        let numbers = try order.rows(of: step)
        let places = numbers.map { prepared?.kept[$0] ?? $0 }
        let chosen = places.map { rows[$0] }
        let context = update.context(step: step, epoch: order.progress(after: step))
        var columns = try constants(chosen, chosen.map { rawRow($0.index) })
        var reported = MetricSums()
        if let prepared {
            columns.columns.merge(prepared.columns(of: places)) { $1 }
            swap(&reported, &datasetMetrics)
        } else {
            reported = try update.objective.prepare(
                &columns, source: update.source(of: chosen), context: context)
        }
        var outcome = try update.run(
            rows: chosen, columns: columns, rates: update.rates(at: step), context: context
        ) { try order.feedback(rows: numbers, batch: $0, context: context) }
        outcome.metrics.merge(reported)
        outcome.metrics.merge(order.takeMetrics())
        return StepResult(outcome)
    }

    /// The constants of some rows, before `prepare`.
    private func constants(_ rows: [TokenizedRow], _ raw: [JSON]) throws -> ColumnBatch {
        var columns = ColumnBatch.tokens(of: rows, prefixes: update.prefixes)
        if let reference {
            let logprobs = try reference.logprobs(rows).map { $0.map(Double.init) }
            columns.addTokenColumn("ref_logprobs", logprobs, prefixes: update.prefixes)
        }
        if update.prefixes.count == 2, raw.contains(where: { $0["margin"]?.double != nil }) {
            columns.columns["margin"] = Column(raw.map { $0["margin"]?.double ?? 0 })
        }
        columns.rowJSON = raw
        return columns
    }

    func evaluate(step: Int) throws -> OrderedDictionary<String, Double> {
        var total = StepMetrics()
        let size = config.train.perDeviceEvalBatchSize
        let context = update.context(step: step, epoch: order.progress(after: step))
        let whole =
            preparesDataset && !valid.isEmpty
            ? try PreparedDataset.make(
                valid, rawValidRow, update: update, reference: reference, context: context,
                mayKeepNone: true) : nil
        for start in stride(from: 0, to: valid.count, by: size) {
            let range = start..<min(start + size, valid.count)
            let rows = Array(valid[range])
            var columns = try constants(rows, rows.map { rawValidRow($0.index) })
            var reported = MetricSums()
            if let whole {
                columns.columns.merge(whole.dataset.columns(of: Array(range))) { $1 }
                if start == 0 { reported = whole.reported }
            } else {
                reported = try update.objective.prepare(
                    &columns, source: update.source(of: rows), context: context)
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
        return total.drain()
    }

    func samples(step: Int) throws -> [JSONObject] {
        guard let sampling else { return [] }
        let raw = valid.isEmpty ? rawRow : rawValidRow
        let rows = (valid.isEmpty ? self.rows : valid).prefix(4)
        let prompts = rows.map { Prompt(row: $0.index, tokens: $0.prompt, json: raw($0.index)) }
        return try sampling.generate(
            prompts, samplesPerPrompt: 1, stream: UInt64(update.firstStep + step), place: "samples"
        ).map {
            [
                "step": JSON(update.firstStep + step), "prompt": .string($0.promptText),
                "completion": .string($0.text),
            ]
        }
    }

    func snapshot(nextStep: Int) throws -> LoopSnapshot {
        let (state, prepared) = (try order.snapshot(nextStep: nextStep), prepared)
        return LoopSnapshot {
            var object = JSONObject()
            if let state { object["order"] = state.json }
            if let prepared { object["dataset"] = prepared.json }
            return .object(object)
        }
    }

    func restore(_ state: JSON) throws {
        try order.restore(state["order"])
        if let saved = state["dataset"] {
            prepared = try PreparedDataset(rows: rows.count, json: saved)
        }
    }

    func flushCaches() { reference?.flush() }
}
