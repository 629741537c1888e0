import KeelCore
import KeelModel
import KeelTensor

/// `keel forward`: log-probabilities, loss, logits, gradients and optimizer steps, one JSON value a line.
package final class ForwardCommand {
    package struct Options: Sendable {
        /// A Hugging Face directory.
        package var model: String
        package var dtype = DType.f32
        package var lastLogits = false
        package var grads = false
        /// A PEFT directory.
        package var adapter: String?
        /// nil = all cores.
        package var threads: Int?

        package init(model: String) { self.model = model }
    }

    private let options: Options
    private let model: Model

    /// - Throws: `KeelError` when the model cannot be loaded.
    package init(_ options: Options) throws {
        self.options = options
        model = try ModelSource(options.model, adapter: options.adapter).load(
            dtype: options.dtype, device: .cpu(threads: options.threads ?? Machine.cores),
            hasMaster: { _ in true })
    }

    /// Loads the model and answers stdin line by line.
    ///
    /// - Returns: `failed` when a line could not be answered.
    /// - Throws: `KeelError` when the model cannot be loaded or a stream fails.
    package static func run(_ options: Options) throws -> ExitCode {
        let command = try ForwardCommand(options)
        return try LineAnswers.run(command.answer)
    }

    /// Answers one line: a list of ids, or with `--grads` a batch.
    ///
    /// - Throws: `KeelError` for a line that cannot be answered.
    package func answer(_ line: JSON) throws -> JSON {
        if line.array != nil { return try score(TokenIDs.read(line, "the line")) }
        guard let object = line.object else {
            throw KeelError(
                "forward", "a line must be a list of ids or an object, found \(line.kind)",
                code: .badData)
        }
        guard (object["chosen"] != nil) == isRewardModel else {
            throw KeelError(
                "forward",
                isRewardModel
                    ? "a reward model is trained on pairs: {\"chosen\", \"rejected\"}"
                    : "pairs need a reward model; this is a language model", code: .badData)
        }
        guard options.grads else {
            throw KeelError("forward", "a batch needs --grads", fix: "add --grads", code: .badData)
        }
        return try train(ForwardBatch(object))
    }

    private var isRewardModel: Bool { !model.architecture.hasLanguageHead }

    /// `{"logprobs", "loss", "last_logits"}` of one sequence, or `{"score"}` of a reward model.
    private func score(_ ids: [Int32]) throws -> JSON {
        guard !ids.isEmpty else {
            throw KeelError("forward", "an empty list of ids", code: .badData)
        }
        if isRewardModel {
            return ["score": .double(try model.scores([ids], tape: Tape(recording: false)).item())]
        }
        let batch = PackedBatch(sequences: [ids], promptLengths: [1])
        let logprobs = try model.logprobs(batch, tape: Tape(recording: false)).logprobs.doubles()
        var answer = JSONObject()
        answer.append("logprobs", .array(logprobs.map { .double($0) }))
        answer.append(
            "loss",
            logprobs.isEmpty ? .null : .double(-logprobs.reduce(0, +) / Double(logprobs.count)))
        if options.lastLogits {
            let logits = try model.logits(batch, rows: [Int32(ids.count - 1)]).doubles()
            answer.append("last_logits", .array(logits.map { .double($0) }))
        }
        return .object(answer)
    }

    /// Loss, gradients and, when asked for, optimizer steps; the weights are put back afterwards.
    private func train(_ batch: ForwardBatch) throws -> JSON {
        for (name, indices) in batch.entries {
            guard let parameter = model.parameter(named: name) else {
                let near = nearest(name, among: model.trained.map(\.name)).map {
                    "did you mean \"\($0)\"?"
                }
                throw KeelError(
                    "forward", "no tensor \"\(name)\" to report", fix: near, code: .badData)
            }
            if let index = indices.first(where: { $0 < 0 || $0 >= parameter.count }) {
                throw KeelError(
                    "forward", "entry \(index) of \(name), which has \(parameter.count)",
                    code: .badData)
            }
        }
        let loss = try gradients(batch.rows)
        var answer = JSONObject()
        answer.append("loss", .double(loss))
        if case .text(let packed) = batch.rows {
            answer.append("n_targets", JSON(packed.targets.count))
        }
        answer.append("grad_l2_total", .double(norm(model.trained.map(\.gradient))))
        var grads = JSONObject()
        for parameter in model.trained {
            let values = parameter.gradient.doubles()
            grads.append(
                parameter.name,
                [
                    "shape": .array(parameter.shape.map { JSON($0) }), "l2": .double(norm(values)),
                    "sum": .double(values.reduce(0, +)),
                    "val": .array(
                        (batch.entries[parameter.name] ?? []).map { .double(values[$0]) }),
                ])
        }
        answer.append("grads", .object(grads))
        if let settings = batch.adamw {
            for (key, value) in try steps(settings, batch.rows, firstLoss: loss, batch.entries) {
                answer.append(key, value)
            }
        }
        return .object(answer)
    }

    /// Mean of -log p over the targets, or of -log sigmoid(chosen - rejected) over the pairs; the gradients
    /// are left in the parameters.
    private func gradients(_ rows: ForwardBatch.Rows) throws -> Double {
        model.zeroGradients()
        let tape = Tape()
        let batch: PackedBatch
        switch rows {
        case .text(let packed): batch = packed
        case .pairs(let sequences):
            let scores = try model.scores(sequences, tape: tape)
            let n = sequences.count / 2
            let margins = scores.slice(axis: 0, 0, n) - scores.slice(axis: 0, n, 2 * n)
            let loss = -margins.logSigmoid().mean()
            tape.backward(loss)
            return loss.item()
        }
        let logprobs = try model.logprobs(batch, tape: tape).logprobs
        let share = 1 / Double(batch.targets.count)
        tape.backward(
            logprobs,
            seed: Tensor(
                filled: -share, shape: logprobs.shape, dtype: logprobs.dtype,
                device: logprobs.device))
        return -logprobs.doubles().reduce(0, +) * share
    }

    private func steps(
        _ settings: ForwardBatch.AdamWSettings, _ batch: ForwardBatch.Rows, firstLoss: Double,
        _ entries: [String: [Int]]
    ) throws -> JSONObject {
        let before = model.trained.map { parameter in
            let copy = Tensor(
                zeros: parameter.shape, dtype: parameter.master.dtype, device: model.device)
            copy.copy(from: parameter.master)
            return copy
        }
        defer {
            for (parameter, values) in zip(model.trained, before) { parameter.assign(values) }
        }
        let optimizer = AdamW(
            model.trained, beta1: settings.beta1, beta2: settings.beta2, eps: settings.eps,
            weightDecay: settings.weightDecay)
        var losses = [firstLoss]
        var norms: [Double] = []
        for _ in 0..<settings.steps {
            norms.append(optimizer.step(learningRate: settings.lr))
            losses.append(try gradients(batch))
        }
        var params = JSONObject()
        for parameter in model.trained {
            let values = parameter.master.doubles()
            params.append(
                parameter.name,
                [
                    "l2": .double(norm(values)),
                    "val": .array((entries[parameter.name] ?? []).map { .double(values[$0]) }),
                ])
        }
        return [
            "losses": .array(losses.map { .double($0) }),
            "grad_l2": .array(norms.map { .double($0) }),
            "params": .object(params),
        ]
    }

    private func norm(_ tensors: [Tensor]) -> Double { Optim.squaredNorm(tensors).squareRoot() }

    private func norm(_ values: [Double]) -> Double {
        values.reduce(0) { $0 + $1 * $1 }.squareRoot()
    }
}
