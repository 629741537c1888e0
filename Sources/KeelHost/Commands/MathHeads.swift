import KeelBridge
import KeelCore
import KeelModel
import KeelTensor

/// Value heads as `keel math` answers for them: the very ones of a run, on numbers that are given.
enum MathHeads {
    static let functions: [String: Math.Function] = [
        "value_head": valueHead, "value_head_train": valueHeadTrain,
    ]

    /// Values of prompts, and where a target is given the mean squared error and its gradients.
    private static func valueHead(_ q: Math.Request) throws -> JSONObject {
        let setting = try Setting(q)
        var answer: JSONObject = ["value": q.answer(setting.values().doubles())]
        guard q.has("target") else { return answer }
        let error = try setting.train(Array(0..<setting.lengths.count))
        answer["mse"] = .double(error)
        var gradients = JSONObject()
        for (parameter, shape) in setting.shapes {
            gradients[parameter.name] = q.answer(shape, parameter.gradient.doubles())
        }
        answer["grads"] = .object(gradients)
        return answer
    }

    /// Epochs of AdamW over batches in a given order, and the values at the end of the best one.
    private static func valueHeadTrain(_ q: Math.Request) throws -> JSONObject {
        let setting = try Setting(q)
        let rows = setting.lengths.count
        let epochs = try count(q, "epochs")
        let batch = try count(q, "batch_size")
        let order = try q.ids("order", count: epochs * rows).map(Int.init)
        guard order.allSatisfy((0..<rows).contains) else {
            throw q.fail("\"order\" names rows beyond the \(rows) of \"hidden\"")
        }
        let optimizer = AdamW(
            groups: [
                AdamW.Group(
                    setting.head.parameters, weightDecay: try q.number("weight_decay", 0))
            ], beta1: try q.number("beta1", 0.9), beta2: try q.number("beta2", 0.999),
            eps: try q.number("eps", 1e-8))
        let rate = try q.number("lr")
        var losses: [Double] = []
        var selection = BestEpoch()
        var best: [Double] = []
        for epoch in 0..<epochs {
            let places = Array(order[epoch * rows..<(epoch + 1) * rows])
            for start in stride(from: 0, to: rows, by: batch) {
                let error = try setting.train(Array(places[start..<min(start + batch, rows)]))
                selection.add(error)
                losses.append(error)
                optimizer.step(learningRate: rate)
            }
            if selection.endEpoch() { best = setting.values().doubles() }
        }
        return [
            "step_losses": q.answer(losses), "epoch_mse": q.answer(selection.errors),
            "best_epoch": JSON(selection.best + 1),
            "best_mse": .double(selection.errors[selection.best]), "values_of_best": q.answer(best),
        ]
    }

    private static func count(_ q: Math.Request, _ name: String) throws -> Int {
        guard let count = Int(exactly: try q.number(name)), count > 0, count < 1 << 24 else {
            throw q.fail("\"\(name)\" must be a whole number above 0")
        }
        return count
    }
}

/// A head with given parameters, and the states that it reads.
private struct Setting {
    let head: ValueHead
    /// The parameters with the shapes they were given in.
    let shapes: [(KeelModel.Parameter, [Int])]
    /// States under the mask, row after row: `[sum of lengths, hidden]`.
    let states: Tensor
    /// Real states of each row.
    let lengths: [Int]
    let targets: [Double]
    private let request: Math.Request

    init(_ q: Math.Request) throws {
        request = q
        let hidden = try q.array("hidden", rank: 3)
        let (rows, width, cells) = (hidden.shape[0], hidden.shape[1], hidden.shape[2])
        let mask =
            q.has("mask")
            ? try q.array("mask", like: [rows, width])
            : [Double](repeating: 1, count: rows * width)
        var kept: [Double] = []
        lengths = try (0..<rows).map { row in
            let places = (row * width..<(row + 1) * width).filter { mask[$0] != 0 }
            guard !places.isEmpty else { throw q.fail("row \(row) of \"mask\" has no state") }
            for place in places { kept += hidden.values[place * cells..<(place + 1) * cells] }
            return places.count
        }
        guard rows > 0, cells > 0 else { throw q.fail("\"hidden\" is empty") }
        states = Tensor(
            kept, shape: [kept.count / cells, cells], dtype: q.dtype, device: q.device)
        targets = q.has("target") ? try q.array("target", like: [rows]) : []

        let kind = try q.choice(
            "kind", ["attention_pool": ValueHead.Kind.attentionPool, "mlp_pool": .mlpPool],
            default: "attention_pool")
        var settings = ValueHead.Settings()
        settings.dropout = 0
        settings.maxValue = try q.number("max_value", 1)
        let heads = try q.number("num_heads", 8)
        guard let whole = Int(exactly: heads), whole > 0 else {
            throw q.fail("\"num_heads\" is \(heads)")
        }
        settings.heads = whole
        head = try ValueHead(
            kind, hiddenSize: cells, settings: settings, seed: 0, dtype: q.dtype, device: q.device)
        shapes = try head.parameters.map { parameter in
            let given = try q.array(parameter.name)
            guard given.count == parameter.count else {
                throw q.fail(
                    "\"\(parameter.name)\" has shape \(given.shape), needs \(parameter.shape)")
            }
            parameter.assign(
                Tensor(given.values, shape: parameter.shape, dtype: q.dtype, device: q.device))
            return (parameter, given.shape)
        }
    }

    /// The value of every row.
    func values() -> Tensor { head.pooled(states, lengths: lengths, tape: Tape(recording: false)) }

    /// The mean squared error of some rows; the head's gradients become those of it.
    func train(_ rows: [Int]) throws -> Double {
        guard targets.count == lengths.count else { throw request.fail("\"target\" is missing") }
        let starts = lengths.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1) }
        let places = rows.flatMap { (starts[$0]..<starts[$0 + 1]).map(Int32.init) }
        let picked = NN.gatherRows(states, Tensor(places, device: request.device))
        head.zeroGradients()
        let tape = Tape()
        let values = head.pooled(picked, lengths: rows.map { lengths[$0] }, tape: tape)
        let wanted = Tensor(
            rows.map { targets[$0] }, shape: [rows.count], dtype: request.dtype,
            device: request.device)
        let error = (values - wanted).square().mean()
        tape.backward(error)
        return error.doubles()[0]
    }
}
