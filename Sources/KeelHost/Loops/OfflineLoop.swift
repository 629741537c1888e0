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
    private let order: EpochRows
    private let sampling: Sampling?
    private let config: RunConfig

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
        self.sampling = sampling
        self.config = config
        let perStep = config.train.rowsPerStep * update.communicator.size
        order = EpochRows(count: rows.count, perStep: perStep, sampler: sampler)
    }

    var stepsPerEpoch: Int { order.stepsPerEpoch }
    func epoch(after steps: Int) -> Double { order.progress(after: steps) }

    func step(_ step: Int, learningRate: Double) throws -> StepResult {
        let chosen = try order.rows(of: step).map { rows[$0] }
        let context = update.context(step: step, epoch: order.progress(after: step))
        let (columns, reported) = try prepared(chosen, chosen.map { rawRow($0.index) }, context)
        var outcome = try update.run(
            rows: chosen, columns: columns, learningRate: learningRate, context: context)
        outcome.metrics.merge(reported)
        return StepResult(outcome)
    }

    /// The constants of some rows, completed by the objective's `prepare`.
    private func prepared(
        _ rows: [TokenizedRow], _ raw: [JSON], _ context: CallContext
    ) throws
        -> (columns: ColumnBatch, reported: MetricSums)
    {
        var columns = ColumnBatch.tokens(of: rows, prefixes: update.prefixes)
        if let reference {
            let logprobs = try reference.logprobs(rows).map { $0.map(Double.init) }
            columns.addTokenColumn("ref_logprobs", logprobs, prefixes: update.prefixes)
        }
        if update.prefixes.count == 2, raw.contains(where: { $0["margin"]?.double != nil }) {
            columns.columns["margin"] = Column(raw.map { $0["margin"]?.double ?? 0 })
        }
        columns.rowJSON = raw
        let reported = try update.objective.prepare(&columns, context: context)
        return (columns, reported)
    }

    func evaluate(step: Int) throws -> OrderedDictionary<String, Double> {
        var total = StepMetrics()
        let size = config.train.perDeviceEvalBatchSize
        for start in stride(from: 0, to: valid.count, by: size) {
            let rows = Array(valid[start..<min(start + size, valid.count)])
            let context = update.context(step: step, epoch: order.progress(after: step))
            let (columns, reported) = try prepared(
                rows, rows.map { rawValidRow($0.index) }, context)
            var outcome = try update.run(
                rows: rows, columns: columns, learningRate: nil, context: context)
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
            prompts, samplesPerPrompt: 1, stream: UInt64(step), place: "samples"
        ).map {
            ["step": JSON(step), "prompt": .string($0.promptText), "completion": .string($0.text)]
        }
    }

    func snapshot(nextStep: Int) throws -> LoopSnapshot {
        let state = try order.snapshot(nextStep: nextStep)
        return LoopSnapshot { state.map { ["order": $0.json] } ?? [:] }
    }

    func restore(_ state: JSON) throws {
        try order.restore(state["order"])
    }

    func flushCaches() { reference?.flush() }
}
