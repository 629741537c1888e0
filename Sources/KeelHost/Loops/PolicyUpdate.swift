import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor

/// One optimizer step of a phase: forward, the objective's loss, backward, clip, AdamW.
///
/// Denominators are those of the whole step, over all micro-batches and ranks, so that the split into
/// micro-batches changes nothing but rounding.
final class PolicyUpdate {
    let networks: Networks
    let objective: ObjectiveInstance
    let phase: Phase
    let reduction: Reduction
    /// The denominator of the reduction `constant`; nil = the objective's own.
    let reductionConstant: Double?
    /// How the completions of a row stand in columns.
    let sides: Sides
    let microBatchRows: Int
    /// What the phase trains.
    let trainers: [Trainer]
    let communicator: any Communicator
    /// What plugins may ask of the run (`keel_fact`).
    let facts: [String: Double]
    /// Of each trainer, in steps of the phase; set when the phase begins.
    var schedules: [Schedule] = []
    /// Steps of the run before this phase.
    var firstStep = 0
    /// Columns of the current policy that the phase's loss may read.
    let columns: CurrentColumns
    /// Those that a pass must give: values of prompts under a head that the phase leaves alone are remembered.
    private let passColumns: CurrentColumns
    /// The values of prompts that have been met.
    private var knownValues: [[Int32]: Double] = [:]
    /// Column prefixes of the sides.
    var prefixes: [String] { sides.prefixes }
    /// Text whose likelihood is part of every step (PPO-ptx).
    var ptx: PtxRows?
    /// Whether an outcome tells of each row.
    var keepsRows = false

    init(
        networks: Networks, objective: ObjectiveInstance, phase: Phase, reduction: Reduction,
        reductionConstant: Double?, sides: Sides, microBatchRows: Int, trainers: [Trainer],
        communicator: any Communicator, facts: [String: Double]
    ) {
        self.networks = networks
        self.objective = objective
        self.phase = phase
        self.reduction = reduction
        self.reductionConstant = reductionConstant
        self.sides = sides
        self.microBatchRows = microBatchRows
        self.trainers = trainers
        self.communicator = communicator
        self.facts = facts
        columns = CurrentColumns(needs: objective.needs(phase: phase.name))
            .intersection(networks.available).subtracting(.bootstrapValues)
        let isFrozen = !trainers.contains { $0.part == .valueHead }
        passColumns = isFrozen ? columns.subtracting(.seqValues) : columns
    }

    /// What a callback is told about its place in the run.
    ///
    /// - Parameter step: of the phase.
    func context(step: Int, epoch: Double) -> CallContext {
        CallContext(
            step: firstStep + step, epoch: epoch, phase: phase.name, facts: facts,
            isCancelled: { Signals.stopRequest != nil })
    }

    /// The head or the states it reads have changed: values that are remembered are no longer theirs.
    func forgetValues() { knownValues = [:] }

    /// The learning rate of each trainer for a step of the phase.
    func rates(at step: Int) -> [Double] { schedules.map { $0.rate(at: step) } }

    struct Outcome {
        var loss = 0.0
        /// Of the first trainer; those of the others are among the metrics.
        var gradNorm = 0.0
        /// Of the first trainer.
        var learningRate = 0.0
        /// Tokens of the step as TRL counts them (prompts once per completion).
        var tokens = 0
        /// nil in a phase without log-probs.
        var entropy: Double?
        var accuracy: Double?
        /// Rates and norms of the trainers after the first.
        var trainerMetrics: [(String, Double)] = []
        var metrics = MetricSums()
        /// With `keepsRows`: the step's rows with what the passes and the loss made of them.
        var rows: ColumnBatch?
    }

    // MARK: - A step

    /// - Parameters:
    ///   - rows: the step's rows, in order.
    ///   - columns: their constants, after `prepare`.
    ///   - rates: of each trainer; nil evaluates without gradients and changes nothing.
    ///   - feedback: gets the rows of `keepsRows` before any weight moves: what fails in it leaves the
    ///     parameters as they were.
    /// - Throws: `KeelError` (failed) for a loss or gradient that is not finite.
    func run(
        rows: [TokenizedRow], columns: ColumnBatch, rates: [Double]?, context: CallContext,
        feedback: (ColumnBatch) throws -> Void = { _ in }
    ) throws -> Outcome {
        var outcome = try evaluate(
            rows: rows, columns: columns, isTraining: rates != nil, context: context)
        if let known = outcome.rows { try feedback(known) }
        guard let rates else { return outcome }
        if let ptx {
            let nll = try ptx.addGradient(to: networks.policy, step: context.step)
            outcome.metrics.add("loss/ptx", nll)
        }
        try step(rates, &outcome) {
            try NumericFault(self, context).gradientError($0, rows: rows, columns: columns)
        }
        return outcome
    }

    /// The loss of a step's rows; in training its gradients are added to the parameters'.
    func evaluate(
        rows: [TokenizedRow], columns: ColumnBatch, isTraining: Bool, context: CallContext
    ) throws -> Outcome {
        let local = Reduction.denominator(of: columns)
        let all = try communicator.allReduce([local.rows, local.tokens, local.groups])
        let denominator = Denominator(rows: all[0], tokens: all[1], groups: all[2])
        var outcome = Outcome()
        var (entropySum, correctSum, targets) = (0.0, 0.0, 0)
        var (made, losses): ([String: [Column]], [Double]) = ([:], [])

        for range in microBatches(columns) {
            let part = Array(rows[range])
            let tape = Tape(recording: isTraining)
            let pass = try networks.pass(
                part, passColumns, tape: tape, dropoutStep: isTraining ? context.step : nil)
            var batch = columns.slice(range)
            pass.add(to: &batch, sides)
            if self.columns != passColumns, columns.columns["seq_values"] == nil {
                let values = Column(try promptValues(part))
                for prefix in Set(prefixes + [""]) { batch.columns[prefix + "seq_values"] = values }
            }

            let result = try StageClock.measure(.plugins) {
                try objective.evaluate(
                    batch, reduction: reduction, constant: reductionConstant,
                    denominator: denominator, gradients: isTraining, context: context)
            }
            guard result.loss.isFinite else {
                throw try NumericFault(self, context).lossError(result.loss, batch, rows: part)
            }
            outcome.loss += result.loss
            outcome.metrics.merge(result.metrics)
            if keepsRows, isTraining {
                for (name, column) in batch.columns where columns.columns[name] == nil {
                    made[name, default: []].append(column)
                }
                losses += result.perRow
            }
            if isTraining {
                try checkGradients(result.gradients, pass)
                tape.backward(
                    pass.seeds(result.gradients, sides, counts: part.map(\.completions.count)))
            }
            outcome.tokens += part.reduce(0) { $0 + $1.tokenCount }
            let counts = pass.counts(trainedIn: part)
            entropySum += counts.entropy
            correctSum += counts.correct
            targets += counts.targets
        }
        let sums = try communicator.allReduce([
            outcome.loss, entropySum, correctSum, Double(targets),
        ])
        outcome.loss = sums[0]
        if self.columns.contains(.logprobs) {
            outcome.entropy = sums[1] / max(1, sums[3])
            outcome.accuracy = sums[2] / max(1, sums[3])
        }
        if keepsRows, isTraining { outcome.rows = known(columns, made, losses) }
        return outcome
    }

    /// A step's rows with what the passes gave, and what each row adds to the sum of losses.
    private func known(
        _ columns: ColumnBatch, _ made: [String: [Column]], _ losses: [Double]
    ) -> ColumnBatch {
        var known = columns
        for (name, parts) in made {
            let prefix = ColumnNames.split(name).prefix
            let whole = columns.columns[prefix + "mask"] ?? columns.columns["valid"]
            known.columns[name] = .joined(parts, width: whole?.shape.last ?? 0)
        }
        known.columns["loss"] = Column(losses)
        return known
    }

    /// - Parameter located: the error of a gradient whose norm is not finite.
    private func step(
        _ rates: [Double], _ outcome: inout Outcome, located: (Double) throws -> KeelError
    ) throws {
        // All norms before any step: a gradient that is not finite must leave everything as it was.
        let norms =
            trainers.count > 1 ? trainers.map { $0.optimizer.gradientNorm() } : []
        var worst = norms.first { !$0.isFinite }
        if worst == nil {
            for (number, (trainer, rate)) in zip(trainers, rates).enumerated() {
                let norm = trainer.optimizer.step(
                    learningRate: rate, maxGradNorm: trainer.maxGradNorm)
                if !norm.isFinite { worst = norm }
                if number == 0 {
                    (outcome.gradNorm, outcome.learningRate) = (norm, rate)
                } else {
                    outcome.trainerMetrics += [
                        ("grad_norm/\(trainer.part.rawValue)", norm),
                        ("learning_rate/\(trainer.part.rawValue)", rate),
                    ]
                }
            }
        }
        guard let worst else { return networks.zeroGradients() }
        defer { networks.zeroGradients() }
        throw try located(worst)
    }

    /// The rows of each micro-batch.
    ///
    /// A COUPLED objective gets whole groups, as many as fit; without groups its rows are one batch.
    func microBatches(_ columns: ColumnBatch) -> [Range<Int>] {
        let rows = columns.rows
        guard objective.component.flags.contains(.coupled) else {
            return stride(from: 0, to: rows, by: microBatchRows).map {
                $0..<min($0 + microBatchRows, rows)
            }
        }
        guard let group = columns.columns["group"], group.shape == [rows], rows > 0 else {
            return rows == 0 ? [] : [0..<rows]
        }
        let ids = group.values
        var batches: [Range<Int>] = []
        var (start, end) = (0, 0)
        while end < rows {
            var next = end + 1
            while next < rows, ids[next] == ids[end] { next += 1 }
            if end > start, next - start > microBatchRows {
                batches.append(start..<end)
                start = end
            }
            end = next
        }
        batches.append(start..<rows)
        return batches
    }

    // MARK: - Columns without gradient

    /// The values of the rows' prompts under a frozen head, each prompt computed once and alone: its bits do
    /// not depend on when it was first met.
    private func promptValues(_ rows: [TokenizedRow]) throws -> [Double] {
        try rows.map { row in
            if let known = knownValues[row.prompt] { return known }
            let pass = try networks.pass([row], .seqValues, tape: Tape(recording: false))
            let value = pass.sum("seq_values") ?? .nan
            knownValues[row.prompt] = value
            return value
        }
    }

    /// A column of the current policy over some rows, micro-batch by micro-batch; nil = not one of this run's.
    func constants(_ name: String, of rows: [TokenizedRow]) throws -> Column? {
        let (prefix, base) = ColumnNames.split(name)
        let wanted = CurrentColumns(needs: [base]).intersection(networks.available)
        let isPrompts = wanted == .seqValues
        guard !wanted.isEmpty, let side = prefixes.firstIndex(of: prefix) ?? (isPrompts ? 0 : nil)
        else { return nil }
        if isPrompts, !passColumns.contains(.seqValues) { return Column(try promptValues(rows)) }
        var parts: [Column] = []
        for start in stride(from: 0, to: rows.count, by: microBatchRows) {
            let part = Array(rows[start..<min(start + microBatchRows, rows.count)])
            let pass = try networks.pass(part, wanted, tape: Tape(recording: false))
            var batch = ColumnBatch.tokens(of: part, sides)
            pass.add(to: &batch, sides)
            guard let column = batch.columns[name] else { return nil }
            parts.append(column)
        }
        let width = rows.map {
            sides.isRanked ? $0.completions.count : $0.completions[side].count
        }
        return Column.joined(parts, width: width.max() ?? 0)
    }

    /// What `prepare` may ask of the current policy: a pass without gradient for each column (decision 1).
    func source(of rows: [TokenizedRow]) -> ColumnSource {
        let needs = Set(
            objective.needs(phase: phase.name).map {
                $0.hasSuffix("?") ? String($0.dropLast()) : $0
            })
        var names: Set<String> = []
        for need in needs {
            let (prefix, base) = ColumnNames.split(need)
            guard ColumnNames.isDifferentiable(need),
                prefixes.contains(prefix) || base == "seq_values",
                CurrentColumns(needs: [base]).isSubset(of: networks.available)
            else { continue }
            let isDerived =
                !sides.isRanked && (base == "seq_logprobs" || base == "mean_logprobs")
            names.insert(isDerived ? prefix + "logprobs" : need)
        }
        return ColumnSource(names) { name in
            guard let column = try self.constants(name, of: rows) else {
                throw KeelError("train", "no column \"\(name)\" in this run", code: .internalBug)
            }
            return column
        }
    }

    // MARK: - Checks

    /// Refuses a gradient that would be lost: of a column that no pass of this run gives.
    private func checkGradients(_ gradients: [String: Column], _ pass: ColumnPass) throws {
        let given = Set(
            pass.outputs.flatMap { $0.gradientNames(sides) }
        ).union(Set(prefixes + [""]).map { $0 + "seq_values" })
        let lost = gradients.filter { name, column in
            !given.contains(name) && column.values.contains { $0 != 0 }
        }
        guard let name = lost.keys.min() else { return }
        throw KeelError(
            "train",
            "the loss of \(objective.component.title) depends on \"\(name)\", which has no gradient in a run",
            at: objective.component.path,
            fix: "use it as a constant (detach), or leave its term out",
            code: .unavailable)
    }
}

extension Column {
    /// Columns of parts of a batch, one after the other; `[B,T]` parts are padded with 0 to `width`.
    static func joined(_ parts: [Column], width: Int) -> Column {
        guard parts.first?.shape.count == 2 else { return Column(parts.flatMap(\.values)) }
        let lists = parts.flatMap { part in
            let (values, columns) = (part.values, part.shape[1])
            return (0..<part.shape[0]).map { Array(values[$0 * columns..<($0 + 1) * columns]) }
        }
        return .padded(lists, width: width)
    }
}
