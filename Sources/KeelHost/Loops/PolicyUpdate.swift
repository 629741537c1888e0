import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor

/// One optimizer step: forward, the objective's loss, backward, clip, AdamW.
///
/// Denominators are those of the whole step, over all micro-batches and ranks, so that the split into
/// micro-batches changes nothing but rounding.
final class PolicyUpdate {
    let scorer: SequenceScorer
    let optimizer: AdamW
    let objective: ObjectiveInstance
    let reduction: Reduction
    /// The denominator of the reduction `constant`; nil = the objective's own.
    let reductionConstant: Double?
    let prefixes: [String]
    let microBatchRows: Int
    let maxGradNorm: Double?
    let communicator: any Communicator
    /// What plugins may ask of the run (`keel_fact`).
    let facts: [String: Double]

    init(
        scorer: SequenceScorer, optimizer: AdamW, objective: ObjectiveInstance,
        reduction: Reduction,
        reductionConstant: Double?, prefixes: [String], microBatchRows: Int, maxGradNorm: Double?,
        communicator: any Communicator,
        facts: [String: Double]
    ) {
        self.scorer = scorer
        self.optimizer = optimizer
        self.objective = objective
        self.reduction = reduction
        self.reductionConstant = reductionConstant
        self.prefixes = prefixes
        self.microBatchRows = microBatchRows
        self.maxGradNorm = maxGradNorm
        self.communicator = communicator
        self.facts = facts
    }

    /// What a callback is told about its place in the run.
    func context(step: Int, epoch: Double) -> CallContext {
        CallContext(step: step, epoch: epoch, facts: facts)
    }

    struct Outcome {
        var loss = 0.0
        var gradNorm = 0.0
        /// Tokens of the step as TRL counts them (prompts once per completion).
        var tokens = 0
        var entropy = 0.0
        var accuracy = 0.0
        var metrics = MetricSums()
    }

    /// - Parameters:
    ///   - rows: the step's rows, in order.
    ///   - columns: their constants, after `prepare`.
    ///   - learningRate: nil evaluates without gradients and changes nothing.
    /// - Throws: `KeelError` (failed) for a loss or gradient that is not finite.
    func run(
        rows: [TokenizedRow], columns: ColumnBatch, learningRate: Double?, context: CallContext
    ) throws -> Outcome {
        let isTraining = learningRate != nil
        let local = Reduction.denominator(of: columns)
        let all = try communicator.allReduce([local.rows, local.tokens, local.groups])
        let denominator = Denominator(rows: all[0], tokens: all[1], groups: all[2])
        var outcome = Outcome()
        var (entropySum, correctSum, targets) = (0.0, 0.0, 0)

        for start in stride(from: 0, to: rows.count, by: microBatchRows) {
            let range = start..<min(start + microBatchRows, rows.count)
            let tape = Tape(recording: isTraining)
            let pass = try scorer.pass(rows[range], tape: tape)
            var batch = columns.slice(range)
            let logprobs = pass.perCompletion().map { $0.map(Double.init) }
            batch.addTokenColumn("logprobs", logprobs, prefixes: prefixes)
            let entropies = pass.packing.completions.map { pass.entropy[$0].map(Double.init) }
            batch.addTokenColumn("entropy", entropies, prefixes: prefixes)

            let result = try objective.evaluate(
                batch, reduction: reduction, constant: reductionConstant, denominator: denominator,
                gradients: isTraining, context: context)
            try check(result.loss, rows: rows[range], step: context.step)
            outcome.loss += result.loss
            outcome.metrics.merge(result.metrics)
            if isTraining {
                try checkGradients(result.gradients)
                let seed = seeds(result.gradients, name: "logprobs", like: pass)
                tape.backward([(pass.logprobs, seed)])
            }
            outcome.tokens += rows[range].reduce(0) { $0 + $1.tokenCount }
            entropySum += pass.entropy.reduce(0) { $0 + Double($1) }
            correctSum += Double(pass.correct.count { $0 })
            targets += pass.packing.targets.count
        }
        let sums = try communicator.allReduce([
            outcome.loss, entropySum, correctSum, Double(targets),
        ])
        outcome.loss = sums[0]
        outcome.entropy = sums[1] / max(1, sums[3])
        outcome.accuracy = sums[2] / max(1, sums[3])
        if let learningRate {
            let norm = optimizer.step(learningRate: learningRate, maxGradNorm: maxGradNorm)
            scorer.model.zeroGradients()
            guard norm.isFinite else {
                throw KeelError(
                    "train", "the gradient became \(norm)", at: "step \(context.step + 1)",
                    fix: "lower train.learning_rate", code: .failed)
            }
            outcome.gradNorm = norm
        }
        return outcome
    }

    /// The gradient of the loss by every target's log-prob, in packed order.
    private func seeds(
        _ gradients: [String: Column], name: String, like pass: SequenceScorer.Pass
    ) -> Tensor {
        var flat = [Float](repeating: 0, count: pass.packing.targets.count)
        for (number, range) in pass.packing.completions.enumerated() {
            let side = number % prefixes.count
            guard let column = gradients[prefixes[side] + name] else { continue }
            let width = column.shape.last ?? 0
            let row = number / prefixes.count
            for (t, target) in range.enumerated() {
                flat[target] = Float(column.values[row * width + t])
            }
        }
        return Tensor(flat, shape: [flat.count], device: pass.logprobs.device)
    }

    /// Refuses a gradient that would be lost: the model's pass gives derivatives of the log-probs alone.
    private func checkGradients(_ gradients: [String: Column]) throws {
        let lost = gradients.filter { name, column in
            ColumnNames.split(name).base != "logprobs" && column.values.contains { $0 != 0 }
        }
        guard let name = lost.keys.min() else { return }
        throw KeelError(
            "train",
            "the loss of \(objective.component.title) depends on \"\(name)\", which has no gradient in a run",
            at: objective.component.path,
            fix: "use it as a constant (detach), or leave its term out",
            code: .unavailable)
    }

    private func check(_ loss: Double, rows: ArraySlice<TokenizedRow>, step: Int) throws {
        guard loss.isFinite else {
            let names = rows.prefix(8).map { String($0.index) }.joined(separator: ", ")
            throw KeelError(
                "train", "the loss became \(loss)",
                at: "step \(step + 1), rows \(names)\(rows.count > 8 ? ", ..." : "")",
                fix: "lower train.learning_rate, or look at these rows with `keel reward try`",
                code: .failed)
        }
    }
}
