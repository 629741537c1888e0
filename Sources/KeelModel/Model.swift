import KeelCore
import KeelTensor

/// A causal language model, a reward model or a critic: a decoder and its parameters; it knows no objective.
package final class Model: @unchecked Sendable {
    /// Its config.json, as it was read.
    package let config: ModelConfig
    /// What computes.
    package let decoder: Decoder
    /// Where it lives.
    package let device: Device
    /// The type activations and weights compute in: f32, bf16 or f64.
    package let dtype: DType
    /// In the order of the weight file.
    package let parameters: [Parameter]
    /// The folder it was loaded from; nil for a new one.
    package let directory: String?
    /// What the file it came from stores; f32 for a new one.
    package let storedType: StoredType
    /// Ids that end a generated text: those of generation_config.json and of config.json.
    package let eosIDs: [Int32]

    /// Whether a recording pass keeps the input of every block alone and computes the block again on the way back.
    ///
    /// The gradients are the same, bit for bit; a step takes about a third longer.
    package var recomputesActivations = false

    /// The content hash of the folder it was loaded from, where that was asked for.
    package let contentHash: String?

    /// Trained changes of its weights; nil = the weights are what is trained.
    package let adapter: Adapter?

    /// By the family's own names, which the weight file may shorten.
    private let byWeight: [String: Parameter]
    /// The same, and a tied head under its own name.
    private let places: [String: Parameter]

    /// - Parameters:
    ///   - byWeight: a parameter for each of the architecture's weights.
    ///   - parameters: the same, in the order they are saved in.
    init(
        config: ModelConfig, architecture: Architecture, device: Device, dtype: DType,
        parameters: [Parameter], byWeight: [String: Parameter], directory: String?,
        storedType: StoredType,
        eosIDs: [Int32], contentHash: String? = nil, adapter: Adapter? = nil
    ) {
        self.config = config
        self.decoder = Decoder(architecture: architecture)
        self.device = device
        self.dtype = dtype
        self.parameters = parameters
        self.byWeight = byWeight
        places =
            architecture.isTied
            ? byWeight.merging(
                [
                    architecture.headWeight.name: byWeight[architecture.embedding.name]
                ].compactMapValues { $0 }
            ) { own, _ in own } : byWeight
        self.adapter = adapter
        self.directory = directory
        self.storedType = storedType
        self.eosIDs = eosIDs
        self.contentHash = contentHash
    }

    /// The decoder as data.
    package var architecture: Architecture { decoder.architecture }
    /// Ids are below it.
    package var vocabularySize: Int { architecture.vocabularySize }
    /// Tokens of the longest sequence.
    package var contextLength: Int { architecture.contextLength }
    /// Cells of all parameters.
    package var parameterCount: Int { parameters.reduce(0) { $0 + $1.count } }

    /// What an optimizer moves: the adapter's tensors, or all of the model's.
    package var trained: [Parameter] { adapter?.parameters ?? parameters }

    /// The score head's, as it is trained; nil without one.
    package var scoreParameter: Parameter? {
        architecture.score.flatMap { adapter?.replaced[$0.name] ?? byWeight[$0.name] }
    }

    /// The trained parameter that a weight file or an adapter's file calls so.
    package func parameter(named name: String) -> Parameter? {
        trained.first { $0.name == name }
    }

    /// Sets the gradients of all trained parameters to zero.
    package func zeroGradients() {
        for parameter in trained { parameter.zeroGradient() }
    }

    /// The model without its adapter, on the same tensors.
    package var base: Model { adapter == nil ? self : with(nil) }

    /// The model with an adapter; its own tensors are shared, and no longer trained.
    func adapted(by adapter: Adapter) -> Model {
        for parameter in parameters { parameter.isTrained = false }
        return with(adapter)
    }

    /// A frozen model of the weights as they are, with room of their own but no copy: until these move, both
    /// read the same cells.
    package func frozen() -> Model {
        precondition(adapter == nil, "the model below an adapter is frozen")
        let copies = byWeight.mapValues { $0.frozen() }
        let byName = Dictionary(uniqueKeysWithValues: copies.values.map { ($0.name, $0) })
        return Model(
            config: config, architecture: architecture, device: device, dtype: dtype,
            parameters: parameters.compactMap { byName[$0.name] }, byWeight: copies,
            directory: directory, storedType: storedType, eosIDs: eosIDs, contentHash: contentHash)
    }

    private func with(_ adapter: Adapter?) -> Model {
        Model(
            config: config, architecture: architecture, device: device, dtype: dtype,
            parameters: parameters, byWeight: byWeight, directory: directory,
            storedType: storedType, eosIDs: eosIDs, contentHash: contentHash, adapter: adapter)
    }

    /// A model of its own, without an adapter.
    ///
    /// - Parameters:
    ///   - isUntied: whether a tied head becomes a tensor of its own.
    ///   - change: the cells of a weight, by the family's name; nil = as they are.
    func rebuilt(untied isUntied: Bool, _ change: (String, Parameter) -> Tensor?) -> Model {
        var config = config
        var architecture = architecture
        var names = parameters.map(\.name)
        if isUntied {
            var source = config.source
            source["tie_word_embeddings"] = false
            config = ModelConfig(source, path: config.path)
            architecture.head = architecture.headWeight
            names.append(architecture.headName)
        }
        var new: [String: Parameter] = [:]
        for (weight, old) in isUntied ? places : byWeight {
            new[weight] = Parameter(
                name: weight == architecture.headName ? weight : old.name,
                master: change(weight, old) ?? copy(of: old), compute: dtype)
        }
        let byName = Dictionary(uniqueKeysWithValues: new.values.map { ($0.name, $0) })
        return Model(
            config: config, architecture: architecture, device: device, dtype: dtype,
            parameters: names.compactMap { byName[$0] }, byWeight: new,
            directory: directory, storedType: storedType, eosIDs: eosIDs)
    }

    /// The cells of a weight, in memory of their own.
    func copy(of weight: Weight) -> Tensor {
        guard let parameter = places[weight.name] else {
            preconditionFailure("no parameter \(weight.name)")
        }
        return copy(of: parameter)
    }

    private func copy(of parameter: Parameter) -> Tensor {
        let cells = Tensor(zeros: parameter.shape, dtype: dtype.accumulator, device: device)
        cells.copy(from: parameter.master)
        return cells
    }

    // MARK: Forward

    /// log p(target) of every scored token of a batch.
    ///
    /// - Parameters:
    ///   - tape: a recording one makes the result differentiable by the trained parameters.
    ///   - temperature: divides the logits.
    ///   - entropy: also the entropy of each distribution.
    ///   - correct: also whether the target was the likeliest token.
    /// - Throws: `KeelError` (badData) for ids outside the vocabulary and positions outside the context, and
    ///   for a model without an LM head.
    package func logprobs(
        _ batch: PackedBatch, tape: Tape, temperature: Double = 1, entropy: Bool = false,
        correct: Bool = false
    ) throws -> Scores {
        var wanted = Wanted()
        wanted.entropy = entropy
        wanted.correct = correct
        return try outputs(batch, wanted, tape: tape, temperature: temperature)
    }

    /// Everything that one pass over a batch can give.
    ///
    /// - Parameters:
    ///   - wanted: what to compute; states come without heads.
    ///   - temperature: divides the logits.
    /// - Throws: as `logprobs`.
    package func outputs(
        _ batch: PackedBatch, _ wanted: Wanted, tape: Tape, temperature: Double = 1
    ) throws -> Scores {
        try check(batch)
        let none = Tensor(zeros: [0], dtype: dtype.accumulator, device: device)
        var scores = Scores(logprobs: none, entropy: wanted.entropy ? none : nil)
        scores.vocabLogprobs = wanted.vocabLogprobs ? none : nil
        scores.correct = wanted.correct ? [] : nil
        let targets = wanted.logprobs || wanted.targetStates ? batch.scored : []
        guard !targets.isEmpty || !wanted.rows.isEmpty else { return scores }
        let pass = self.pass(batch, tape)
        let hidden = decoder.hidden(
            ids: Tensor(batch.ids, device: device),
            selected: Tensor(targets + wanted.rows, device: device), pass)
        func part(_ range: Range<Int>) -> Tensor {
            guard range.count < hidden.rows else { return hidden }
            return NN.gatherRows(hidden, Tensor(range.map { Int32($0) }, device: device))
        }
        let own = part(0..<targets.count)
        if wanted.targetStates { scores.targetStates = own }
        if !wanted.rows.isEmpty {
            scores.rowStates = part(targets.count..<targets.count + wanted.rows.count)
        }
        guard wanted.logprobs, !targets.isEmpty else { return scores }
        try requireLanguageHead()
        let head =
            adapter?.head(architecture.headWeight, states: own, rows: targets, pass)
            ?? (own, pass[architecture.headWeight])
        let result = NN.logprobs(
            head.states, weight: head.weight,
            targets: Tensor(batch.targets, device: device),
            temperature: Float(temperature), softcap: architecture.logitSoftcap,
            entropy: wanted.entropy, vocabulary: wanted.vocabLogprobs, argmax: wanted.correct,
            keeping: recomputesActivations ? 0 : LogitTile.kept)
        scores.logprobs = result.logprobs
        scores.entropy = result.entropy
        scores.vocabLogprobs = result.vocabLogprobs
        scores.correct = result.correct.map { $0.ints().map { $0 == 1 } }
        return scores
    }

    /// Refuses a model that says nothing about the next token.
    ///
    /// - Throws: `KeelError` (badData).
    package func requireLanguageHead() throws {
        guard architecture.hasLanguageHead else {
            throw KeelError(
                "model", "a reward model has no LM head: it gives scores, no log-probs or text",
                at: directory, fix: "use a causal language model", code: .badData)
        }
    }

    /// Next-token logits of some rows of a batch, f32, without gradient.
    ///
    /// - Returns: `[rows.count, vocabulary]`
    /// - Throws: `KeelError` (badData) for ids outside the vocabulary and positions outside the context.
    package func logits(_ batch: PackedBatch, rows: [Int32]) throws -> Tensor {
        try check(batch)
        try requireLanguageHead()
        let pass = self.pass(batch, Tape(recording: false))
        let hidden = decoder.hidden(
            ids: Tensor(batch.ids, device: device), selected: Tensor(rows, device: device), pass)
        return logits(hidden: hidden, pass)
    }

    func logits(hidden: Tensor, _ pass: Pass) -> Tensor {
        var z = NN.logits(
            hidden, weight: pass[architecture.headWeight],
            packed: pass.packed(architecture.headWeight, transposed: true))
        if let update = adapter?.logits(architecture.headWeight, states: hidden, pass) {
            z = z + update
        }
        guard let cap = architecture.logitSoftcap.map(Double.init) else { return z }
        return (z / cap).tanh() * cap
    }

    func pass(
        _ batch: PackedBatch, _ tape: Tape, cacheStep: KVCache.Step? = nil,
        packed: PackedWeights? = nil
    ) -> Pass {
        var inputs = Pass.Inputs(
            parameters: places, positions: Tensor(batch.positions, device: device),
            layout: batch.layout, cacheStep: cacheStep, adapter: adapter, packed: packed,
            recomputes: recomputesActivations)
        if tape.isRecording, let keys = batch.dropoutKeys, let draws = adapter?.draws {
            inputs.dropout = Pass.Dropout(seed: draws.seed, step: draws.step, keys: keys)
        }
        return Pass(inputs, tape: tape)
    }

    /// Refuses what would read outside a table.
    func check(_ batch: PackedBatch) throws {
        let vocabulary = Int32(vocabularySize)
        for ids in [batch.ids, batch.targets] {
            if let id = ids.first(where: { $0 < 0 || $0 >= vocabulary }) {
                throw KeelError(
                    "model", "token id \(id) is not in the model's vocabulary of \(vocabulary)",
                    at: directory, fix: "use the tokenizer that came with the model", code: .badData
                )
            }
        }
        guard let reach = architecture.reach, let last = batch.positions.max() else { return }
        guard last < Int32(reach) else {
            throw KeelError(
                "model", "a sequence of \(last + 1) tokens; the model has \(reach) positions",
                at: directory, fix: "shorten the sequences (max_length)", code: .badData)
        }
    }
}
