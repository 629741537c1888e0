import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor

/// Columns of the current policy that a phase works with.
struct CurrentColumns: OptionSet {
    let rawValue: UInt8

    static let logprobs = CurrentColumns(rawValue: 1)
    static let entropy = CurrentColumns(rawValue: 2)
    static let vocabLogprobs = CurrentColumns(rawValue: 4)
    static let values = CurrentColumns(rawValue: 8)
    static let seqValues = CurrentColumns(rawValue: 16)
    static let scores = CurrentColumns(rawValue: 32)
    /// The value after the last token.
    static let bootstrapValues = CurrentColumns(rawValue: 64)

    /// Those among the columns that a component names; a `?` behind a name counts as a wish.
    init(needs: [String]) {
        self = []
        for need in needs {
            let name = need.hasSuffix("?") ? String(need.dropLast()) : need
            switch ColumnNames.split(name).base {
            case "logprobs", "seq_logprobs", "mean_logprobs": insert(.logprobs)
            case "entropy": formUnion([.logprobs, .entropy])
            case "vocab_logprobs": formUnion([.logprobs, .vocabLogprobs])
            case "values": insert(.values)
            case "seq_values": insert(.seqValues)
            case "scores": insert(.scores)
            case "bootstrap_values": insert(.bootstrapValues)
            default: break
            }
        }
    }

    init(rawValue: UInt8) { self.rawValue = rawValue }
}

/// The models and heads of a run.
final class Networks {
    let policy: Model
    /// A model of its own with one number per state; nil where nothing asks for it.
    let critic: Model?
    let valueHead: ValueHead?
    /// Frozen: the states that pools read.
    let reference: Model?
    /// The reference, where it follows the policy.
    var movingReference: Model?
    /// Divides the logits; the same for policy, reference and sampling (decision 9).
    let temperature: Double
    let seed: UInt64
    /// The text of a template that takes the place of the model's own in what is saved.
    var chatTemplate: String?
    /// The head of the best epoch while it is trained.
    var bestValueHead: [Tensor]?
    /// The slowly synced copy of the policy, for objectives that read `old_*` columns of data.
    var oldPolicy: OldPolicy?

    init(
        policy: Model, critic: Model? = nil, valueHead: ValueHead? = nil, reference: Model? = nil,
        temperature: Double = 1, seed: UInt64 = 0
    ) {
        self.policy = policy
        self.critic = critic
        self.valueHead = valueHead
        self.reference = reference
        self.temperature = temperature
        self.seed = seed
    }

    /// What one part of a run trains.
    func parameters(of part: Part) -> [KeelModel.Parameter] {
        let score = policy.scoreParameter
        switch part {
        case .policy: return policy.trained.filter { $0 !== score }
        case .rewardHead: return score.map { [$0] } ?? []
        case .critic: return critic?.parameters ?? []
        case .valueHead: return valueHead?.parameters ?? []
        }
    }

    /// The columns that this run can give.
    var available: CurrentColumns {
        var columns: CurrentColumns = []
        if policy.architecture.hasLanguageHead {
            columns.formUnion([.logprobs, .entropy, .vocabLogprobs])
        }
        if critic != nil || valueHead?.kind == .linear {
            columns.formUnion([.values, .bootstrapValues])
        }
        if valueHead != nil, reference != nil { columns.insert(.seqValues) }
        if policy.architecture.score != nil { columns.insert(.scores) }
        return columns
    }

    /// Cells of everything that may be trained.
    var trainedCells: Int {
        Part.allCases.reduce(0) { $0 + parameters(of: $1).reduce(0) { $0 + $1.count } }
    }

    /// Sets all gradients to zero.
    func zeroGradients() {
        StageClock.measure(.optimizer) {
            policy.zeroGradients()
            critic?.zeroGradients()
            valueHead?.zeroGradients()
        }
    }

    // MARK: - A pass

    /// Everything of the current policy over some rows, in one pass of each model that has a part in it.
    ///
    /// - Parameters:
    ///   - columns: what is wanted; log-probs bring entropy and accuracy for the metrics.
    ///   - tape: a recording one makes the columns differentiable by what is trained.
    ///   - dropoutStep: the step whose random zeros the adapter and the value head use while they are trained;
    ///     nil = none.
    func pass(
        _ rows: [TokenizedRow], _ columns: CurrentColumns, tape: Tape, dropoutStep: Int? = nil
    ) throws -> ColumnPass {
        let wantsLast = !columns.isDisjoint(with: [.scores, .bootstrapValues])
        let packing = StageClock.measure(.data) { Packing(rows, includesLast: wantsLast) }
        var batch = PackedBatch(packing)
        if let dropoutStep, let adapter = policy.adapter, adapter.config.dropout > 0,
            adapter.parameters.contains(where: \.isTrained)
        {
            adapter.draws = (seed, UInt64(dropoutStep))
            batch.dropoutKeys = packing.tokenKeys(rows)
        }
        var pass = ColumnPass(packing: packing, rows: rows.count)
        var wanted = Wanted()
        wanted.logprobs = columns.contains(.logprobs)
        wanted.entropy = wanted.logprobs
        wanted.correct = wanted.logprobs
        wanted.vocabLogprobs = columns.contains(.vocabLogprobs)
        wanted.targetStates = columns.contains(.values) && critic == nil
        let readsLast = columns.contains(.scores) || critic == nil
        wanted.rows = readsLast ? packing.last : []
        if wanted.logprobs || wanted.targetStates || !wanted.rows.isEmpty {
            let scores = try policy.outputs(batch, wanted, tape: tape, temperature: temperature)
            if wanted.logprobs {
                pass.add("logprobs", scores.logprobs, .targets)
                if let entropy = scores.entropy { pass.add("entropy", entropy, .targets) }
                if let vocab = scores.vocabLogprobs { pass.add("vocab_logprobs", vocab, .targets) }
                pass.correct = scores.correct ?? []
            }
            if let states = scores.targetStates, let valueHead {
                pass.add("values", valueHead.values(states, tape: tape), .targets)
            }
            if let states = scores.rowStates, columns.contains(.scores) {
                pass.add("scores", try policy.score(states, tape: tape), .completions)
            }
            if let states = scores.rowStates, columns.contains(.bootstrapValues), let valueHead {
                pass.add(
                    "bootstrap_values", valueHead.values(states, tape: tape), .completions)
            }
        }
        if !columns.isDisjoint(with: [.values, .bootstrapValues]), let critic {
            var wanted = Wanted()
            wanted.logprobs = false
            wanted.targetStates = columns.contains(.values)
            wanted.rows = columns.contains(.bootstrapValues) ? packing.last : []
            let states = try critic.outputs(batch, wanted, tape: tape)
            if let targets = states.targetStates {
                pass.add("values", try critic.score(targets, tape: tape), .targets)
            }
            if let last = states.rowStates {
                pass.add("bootstrap_values", try critic.score(last, tape: tape), .completions)
            }
        }
        if columns.contains(.seqValues) {
            let isTrained = valueHead?.parameters.contains(where: \.isTrained) == true
            let values = try promptValues(
                rows, tape: tape, dropoutStep: isTrained ? dropoutStep : nil)
            pass.add("seq_values", values, .rows)
        }
        return pass
    }

    /// The value of each row's prompt under the frozen reference's states.
    private func promptValues(
        _ rows: [TokenizedRow], tape: Tape, dropoutStep: Int?
    ) throws -> Tensor {
        guard let valueHead, let reference else {
            preconditionFailure("values of prompts without a head and a reference")
        }
        // The completions of one prompt stand together: it is pooled once.
        var prompts: [TokenizedRow] = []
        let place = rows.map { row -> Int32 in
            if prompts.last?.index != row.index || prompts.last?.prompt != row.prompt {
                prompts.append(row)
            }
            return Int32(prompts.count - 1)
        }
        let states = try reference.states(prompts.map(\.prompt))
        let dropout = dropoutStep.map { step in
            ValueHead.Dropout(seed: seed, step: step, rowIDs: prompts.map { UInt64($0.index) })
        }
        let values = valueHead.pooled(
            states, lengths: prompts.map(\.prompt.count), dropout: dropout, tape: tape)
        guard prompts.count < rows.count else { return values }
        let column = values.reshaped([prompts.count, 1])
        return NN.gatherRows(column, Tensor(place, device: reference.device)).reshaped([rows.count])
    }

    // MARK: - Files

    /// The folder of the critic inside a checkpoint or a finished run.
    static let criticFolder = "critic"

    /// The folder of a reference that follows the policy, inside a checkpoint.
    static let referenceFolder = "reference"

    /// Writes what a run goes on with beside the models that come out of it.
    func saveReference(to folder: String) throws {
        try movingReference?.save(to: Files.join(folder, Networks.referenceFolder))
    }

    /// Writes the policy as a Hugging Face folder, or its adapter as a PEFT folder; beside it the critic's folder and the value head's file.
    func save(to folder: String) throws {
        if policy.adapter == nil {
            try policy.save(to: folder)
        } else {
            try policy.saveAdapter(to: folder, base: Files.absolute(policy.directory ?? ""))
        }
        if let chatTemplate {
            try AtomicWrite.file(Files.join(folder, "chat_template.jinja"), chatTemplate)
        }
        try critic?.save(to: Files.join(folder, Networks.criticFolder))
        try valueHead?.save(to: folder)
    }

    /// Whether `save` may have written a file or folder of this name, or the sharded weights of the same model.
    static func saves(_ name: String) -> Bool {
        let isShard = name.hasPrefix("model-") && name.hasSuffix(".safetensors")
        return isShard || name.hasPrefix("adapter_") || Model.companions.contains(name)
            || [
                "model.safetensors", "model.safetensors.index.json", "config.json", criticFolder,
                ValueHead.file,
            ].contains(name)
    }

    /// Writes what a run beyond the checkpoint needs and its result does not.
    func saveState(to folder: String) throws {
        if let bestValueHead {
            try valueHead?.save(to: folder, as: ValueHead.bestFile, bestValueHead)
        }
        try oldPolicy?.save(to: folder)
    }

    /// Reads what `saveState` wrote.
    func loadState(from folder: String) throws {
        if Files.exists(Files.join(folder, ValueHead.bestFile)) {
            bestValueHead = try valueHead?.stored(in: folder, as: ValueHead.bestFile)
        }
        try oldPolicy?.load(from: folder)
    }
}

/// The columns of one pass, and the way back from their gradients.
struct ColumnPass {
    /// What the cells of a tensor belong to.
    enum Place {
        /// The targets of all completions, packed.
        case targets
        /// Completions, in the order of rows and sides.
        case completions
        case rows
    }

    struct Output {
        let name: String
        /// `[targets]`, `[completions]` or `[rows]`.
        let tensor: Tensor
        let place: Place

        /// The columns whose gradients reach it.
        func gradientNames(_ sides: Sides) -> [String] {
            guard sides.isRanked, place == .targets else {
                return prefixes(sides.prefixes).map { $0 + name }
            }
            return name == "logprobs" ? ["seq_logprobs", "mean_logprobs"] : []
        }

        /// The sides it has a column for; what belongs to the prompt has one without a side, too.
        func prefixes(_ sides: [String]) -> [String] {
            place == .rows && !sides.contains("") ? sides + [""] : sides
        }
    }

    let packing: Packing
    let rows: Int
    private(set) var outputs: [Output] = []
    /// Whether each target is the most probable token; empty without log-probs.
    var correct: [Bool] = []

    init(packing: Packing, rows: Int) {
        self.packing = packing
        self.rows = rows
    }

    mutating func add(_ name: String, _ tensor: Tensor, _ place: Place) {
        outputs.append(Output(name: name, tensor: tensor, place: place))
    }

    /// The sum of a column's cells; nil where it is not there.
    func sum(_ name: String) -> Double? {
        outputs.first { $0.name == name }?.tensor.doubles().reduce(0, +)
    }

    /// Entropy, hits and number of the targets that are trained.
    func counts(trainedIn rows: [TokenizedRow]) -> (entropy: Double, correct: Double, targets: Int)
    {
        guard rows.contains(where: { $0.masks != nil }) else {
            return (sum("entropy") ?? 0, Double(correct.count { $0 }), correct.count)
        }
        let trained = rows.flatMap(\.trained)
        let entropies = outputs.first { $0.name == "entropy" }?.tensor.doubles() ?? []
        return (
            zip(entropies, trained).reduce(0) { $0 + ($1.1 ? $1.0 : 0) },
            Double(zip(correct, trained).count { $0 && $1 }),
            correct.isEmpty ? 0 : trained.count { $0 }
        )
    }

    /// Adds the columns to a batch, one for every side.
    func add(to batch: inout ColumnBatch, _ sides: Sides) {
        let prefixes = sides.prefixes
        for output in outputs {
            let cells = output.tensor.doubles()
            switch output.place {
            case .targets:
                let lists = packing.completions.map { Array(cells[$0]) }
                batch.addTokenColumn(output.name, lists, sides)
            case .completions where sides.isRanked:
                guard let valid = batch.columns["valid"] else { continue }
                batch.columns[output.name] = .candidates(cells, of: valid)
            case .completions:
                for (side, prefix) in prefixes.enumerated() {
                    batch.columns[prefix + output.name] = Column(
                        (0..<rows).map { cells[$0 * prefixes.count + side] })
                }
            case .rows:
                for prefix in output.prefixes(prefixes) {
                    batch.columns[prefix + output.name] = Column(cells)
                }
            }
        }
    }

    /// What flows back into each tensor: the gradients of a loss by the columns, in packed order.
    ///
    /// - Parameter counts: completions of each row.
    func seeds(
        _ gradients: [String: Column], _ sides: Sides, counts: [Int]
    ) -> [(output: Tensor, seed: Tensor)] {
        let prefixes = sides.prefixes
        return outputs.compactMap { output in
            guard output.tensor.isTracked,
                output.gradientNames(sides).contains(where: { gradients[$0] != nil })
            else { return nil }
            if sides.isRanked, output.place != .rows {
                return (output.tensor, rankedSeed(output, gradients, counts))
            }
            var flat = [Double](repeating: 0, count: output.tensor.count)
            for (side, prefix) in output.prefixes(prefixes).enumerated() {
                guard let column = gradients[prefix + output.name] else { continue }
                let cells = column.values
                switch output.place {
                case .targets:
                    let width = column.shape.last ?? 0
                    for row in 0..<rows {
                        let range = packing.completions[row * prefixes.count + side]
                        for (t, target) in range.enumerated() {
                            flat[target] = cells[row * width + t]
                        }
                    }
                case .completions:
                    for row in 0..<rows { flat[row * prefixes.count + side] = cells[row] }
                case .rows:
                    for row in 0..<rows { flat[row] += cells[row] }
                }
            }
            let tensor = output.tensor
            return (
                tensor,
                Tensor(flat, shape: tensor.shape, dtype: tensor.dtype, device: tensor.device)
            )
        }
    }

    /// Of ranked lists: the gradient of each candidate's score, or of the sum and mean of its log-probs.
    private func rankedSeed(
        _ output: Output, _ gradients: [String: Column], _ counts: [Int]
    ) -> Tensor {
        /// In the order of rows and candidates.
        func cells(_ name: String) -> [Double]? {
            gradients[name].map { column in
                let (values, width) = (column.values, column.shape.last ?? 0)
                return counts.enumerated().flatMap { row, count in
                    values[row * width..<row * width + count]
                }
            }
        }
        let tensor = output.tensor
        var flat = [Double](repeating: 0, count: tensor.count)
        if output.place == .completions {
            if let own = cells(output.name) { flat = own }
        } else {
            let (sums, means) = (cells("seq_logprobs"), cells("mean_logprobs"))
            for (number, range) in packing.completions.enumerated() {
                let own = (sums?[number] ?? 0) + (means?[number] ?? 0) / Double(max(1, range.count))
                for target in range { flat[target] = own }
            }
        }
        return Tensor(flat, shape: tensor.shape, dtype: tensor.dtype, device: tensor.device)
    }
}
