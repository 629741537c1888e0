import KeelBridge
import KeelCore
import KeelTensor

/// `keel plugin eval`: runs one component on a batch of numbers and texts, as a training step does.
package final class PluginEval {
    /// What the flags say; a line of `--batch -` may say otherwise for itself.
    package struct Options: Sendable {
        package var params = JSONObject()
        package var phase: String?
        package var gradients = false
        package var precision = ObjectiveInstance.Precision.f32
        package var reduction: String?
        package var reductionConstant: Double?
        package var runsPrepare = true

        package init() {}
    }

    private let component: Component
    private let catalog: PluginCatalog
    private let options: Options
    private let device = Device.cpu(threads: 1)

    /// - Throws: `KeelError` (unavailable) when there is no such plugin.
    package init(plugin: String, options: Options, catalog: PluginCatalog) throws {
        component = try catalog.find(plugin, kind: nil)
        self.catalog = catalog
        self.options = options
    }

    /// Answers the batch of a file, or with `-` every line of stdin.
    package func run(batch: String) throws -> ExitCode {
        if batch == "-" { return try LineAnswers.run { try checked($0) } }
        let json = try JSON.parse(try Files.read(batch), name: batch)
        print(try checked(json, at: batch).text())
        return .ok
    }

    /// The answer to one batch, which is as the batch's "expect" says, if it has one.
    ///
    /// - Throws: `KeelError` (failed) with the first difference.
    private func checked(_ request: JSON, at place: String? = nil) throws -> JSON {
        let answer = try answer(request)
        guard let wanted = request["expect"] else { return answer }
        let tolerance = request["tolerance"]?.number ?? 1e-5
        if let found = Expectation(wanted: wanted, tolerance: tolerance).difference(answer) {
            throw KeelError(
                "plugin", "\(component.title): \(found)", at: place,
                fix: "mend the plugin, or the batch's \"expect\"", code: .failed)
        }
        return answer
    }

    /// The answer to one batch.
    ///
    /// - Throws: `KeelError` when the batch, its parameters or the plugin are at fault.
    package func answer(_ request: JSON) throws -> JSON {
        guard let object = request.object else {
            throw KeelError("data", "a batch is an object, not \(request.kind)", code: .badData)
        }
        var params = options.params
        if let own = object["params"] {
            guard let own = own.object else {
                throw KeelError("data", "\"params\" must be an object", code: .badData)
            }
            for (key, value) in own { params[key] = value }
        }
        let parameters = try component.validate(params: params)
        let batch = try self.batch(object)
        let epoch = object["epoch"]?.double ?? 0
        guard epoch >= 0, epoch < 1e9 else {
            throw KeelError("data", "\"epoch\" is \(epoch)", fix: "use 0 or more", code: .badData)
        }
        var context = CallContext(
            step: object["step"]?.int ?? 0, epoch: epoch,
            phase: object["phase"]?.string ?? options.phase ?? defaultPhase)
        for (name, value) in object["facts"]?.object ?? JSONObject() {
            context.facts[name] = value.number
        }
        let seed = UInt64(clamping: object["seed"]?.int ?? 0)
        switch component.kind {
        case .objective: return try objective(object, batch, parameters, seed, context)
        case .reward: return try reward(batch, parameters, seed, context)
        case .tokenSampler: return try tokenSampler(batch, parameters, seed, context)
        case .dataSampler: return try dataSampler(object, batch, parameters, seed, context)
        }
    }

    /// The phase `policy` where there is one, else the first.
    private var defaultPhase: String {
        let names = component.phases.map(\.name)
        return names.contains("policy") ? "policy" : names.first ?? "policy"
    }

    // MARK: - The four kinds

    private func objective(
        _ object: JSONObject, _ given: ColumnBatch, _ parameters: ParameterValues, _ seed: UInt64,
        _ context: CallContext
    ) throws -> JSON {
        let objective = try ObjectiveInstance(
            component, catalog: catalog, parameters: parameters, seed: seed, device: device,
            precision: options.precision, context: context)
        let reduction = try (object["reduction"]?.string ?? options.reduction).map {
            try Reduction(named: $0)
        }
        var batch = given
        var metrics = MetricSums()
        if object["prepare"]?.bool ?? options.runsPrepare {
            metrics.merge(try objective.prepare(&batch, context: context))
        }
        let wantsGradients = object["grad"]?.bool ?? options.gradients
        let evaluation = try objective.evaluate(
            batch, reduction: reduction,
            constant: object["reduction_constant"]?.number ?? options.reductionConstant,
            gradients: wantsGradients, context: context)
        metrics.merge(evaluation.metrics)
        var answer: JSONObject = [
            "loss": .double(evaluation.loss), "per_row": .array(evaluation.perRow.map(JSON.double)),
            "columns": columns(batch, beyond: given), "metrics": PluginEval.json(metrics),
        ]
        if wantsGradients {
            var gradients = JSONObject()
            for name in given.columns.keys.sorted() where ColumnNames.isDifferentiable(name) {
                guard let column = given.columns[name] else { continue }
                let zeros = Column(shape: column.shape, [Double](repeating: 0, count: column.count))
                gradients.append(name, Arrays.json(evaluation.gradients[name] ?? zeros))
            }
            answer["grads"] = .object(gradients)
        }
        return .object(answer)
    }

    private func reward(
        _ batch: ColumnBatch, _ parameters: ParameterValues, _ seed: UInt64, _ context: CallContext
    ) throws -> JSON {
        let reward = try InProcessReward(
            component, catalog: catalog, parameters: parameters, seed: seed, context: context)
        let scores = try reward.score(batch, context: context).values
        var given = JSONObject()
        for name in reward.columns.keys.sorted() {
            given[name] = reward.columns[name].map(Arrays.json)
        }
        var answer: JSONObject = [
            "scores": .array(scores.map { .double(PluginEval.decimal($0)) }),
            "columns": .object(given),
        ]
        if component.hasCallback("ask") {
            let questions = try reward.ask(batch, context: context)
            answer["ask"] = .array(
                questions.map { $0.map { .string(String(decoding: $0, as: UTF8.self)) } ?? .null })
        }
        answer["metrics"] = PluginEval.json(reward.takeMetrics())
        return .object(answer)
    }

    private func tokenSampler(
        _ batch: ColumnBatch, _ parameters: ParameterValues, _ seed: UInt64, _ context: CallContext
    ) throws -> JSON {
        guard let logits = batch.columns["logits"], logits.shape.count == 2 else {
            throw KeelError(
                "data", "a token sampler needs the column \"logits\", [rows, vocabulary]",
                code: .badData)
        }
        let sampler = try TokenSamplerInstance(
            component, catalog: catalog, parameters: parameters, seed: seed, context: context)
        let sequences = (0..<batch.rows).map { row in
            TokenSamplerInstance.Sequence(
                id: batch.rowID(row), tokens: row < batch.tokens.count ? batch.tokens[row] : [],
                promptLength: row < batch.promptLengths.count ? batch.promptLengths[row] : 0)
        }
        var edited = logits.values.map { Float($0) }
        var states = [[UInt8]](
            repeating: [UInt8](repeating: 0, count: sampler.sequenceBytes), count: batch.rows)
        let tokens = try sampler.sample(
            logits: &edited, vocabulary: logits.shape[1], sequences: sequences, states: &states,
            context: context)
        return [
            "tokens": .array(tokens.map { .int(Int64($0)) }),
            "logits": Arrays.json(shape: logits.shape, edited.map { PluginEval.decimal($0) }),
        ]
    }

    private func dataSampler(
        _ object: JSONObject, _ batch: ColumnBatch, _ parameters: ParameterValues, _ seed: UInt64,
        _ context: CallContext
    ) throws -> JSON {
        let sampler = try DataSamplerInstance(
            component, catalog: catalog, parameters: parameters, seed: seed, context: context)
        let length = object["length"]?.int
        if let length { try PluginEval.check("length", length) }
        let order = try sampler.order(
            epoch: Int(context.epoch), count: batch.rows, length: length, columns: batch.columns,
            context: context)
        return ["order": .array(order.map { JSON($0) })]
    }

    // MARK: - In and out

    /// Rows of a batch at most.
    private static let mostRows = 1 << 22

    /// Refuses a number of rows that no memory is asked for.
    private static func check(_ key: String, _ count: Int) throws {
        guard (0...mostRows).contains(count) else {
            throw KeelError(
                "data", "\"\(key)\" is \(count)", fix: "use a number from 0 to \(mostRows)",
                code: .badData)
        }
    }

    /// The batch of a request.
    private func batch(_ object: JSONObject) throws -> ColumnBatch {
        var columns: [String: Column] = [:]
        for (name, json) in object["columns"]?.object ?? JSONObject() {
            columns[name] = try Arrays.column(json, name: name)
        }
        let text = object["text"]?.object ?? JSONObject()
        let count =
            object["rows"]?.int ?? columns.sorted { $0.key < $1.key }.lazy.compactMap(
                \.value.shape.first
            ).first
            ?? text.pairs.lazy.compactMap(\.value.array?.count).first
        guard let count else {
            throw KeelError(
                "data", "the batch does not say how many rows it has", fix: "add \"rows\": B",
                code: .badData)
        }
        try PluginEval.check("rows", count)
        var batch = ColumnBatch(rows: count)
        batch.columns = columns
        for (name, column) in columns where component.kind != .dataSampler || column.shape.count > 0
        {
            guard column.shape.first == count else {
                throw KeelError(
                    "data",
                    "the column \"\(name)\" has shape \(column.shape) in a batch of \(count) rows",
                    code: .badData)
            }
        }
        for (name, cells) in text {
            guard let list = cells.array, list.count == count else {
                throw KeelError(
                    "data", "the text \"\(name)\" needs a list of \(count) cells", code: .badData)
            }
            if name == "row" {
                batch.rowJSON = list
            } else {
                batch.text[name] = list.map { $0.string.map { Array($0.utf8) } }
            }
        }
        batch.rowIDs =
            object["row_ids"]?.array?.compactMap(\.int).map { UInt64(clamping: $0) } ?? []
        batch.tokens =
            object["token_ids"]?.array?.map {
                ($0.array ?? []).compactMap(\.int).map { Int32(clamping: $0) }
            } ?? []
        batch.promptLengths = object["prompt_lengths"]?.array?.compactMap(\.int) ?? []
        return batch
    }

    private func columns(_ batch: ColumnBatch, beyond given: ColumnBatch) -> JSON {
        var out = JSONObject()
        for name in component.gives
        where batch.columns[name] != given.columns[name] || given.columns[name] == nil {
            if let column = batch.columns[name] { out[name] = Arrays.json(column) }
        }
        return .object(out)
    }

    static func json(_ metrics: MetricSums) -> JSON {
        .object(JSONObject(pairs: metrics.values.map { ($0.name, .double($0.value)) }))
    }

    /// The shortest decimal that means this float, as a double: 0.3, not 0.30000001192092896.
    static func decimal(_ value: Float) -> Double {
        value.isFinite ? Double(value.description) ?? Double(value) : Double(value)
    }
}
