import KeelCore
import KeelTensor

/// A small network that turns states of a model into values.
///
///     linear           v_t = w · h_t + b, per token; starts at 0
///     attention_pool   one learned query attends over the states of a prompt (A-LoL's value head)
///     mlp_pool         the mean state of a prompt through one hidden layer
///
/// With a `maxValue` m the number z that comes out becomes m sigmoid(z).
package final class ValueHead {
    /// What stands between the states and the value.
    package enum Kind: String, Sendable, CaseIterable {
        case linear
        case attentionPool = "attention_pool"
        case mlpPool = "mlp_pool"
    }

    /// What is not trained.
    package struct Settings: Sendable {
        /// Attention heads of `attention_pool`; they divide the states' cells.
        package var heads = 8
        /// Share of cells that training sets to 0: of the states and of what attention gives (attention_pool),
        /// of the hidden layer (mlp_pool).
        package var dropout = 0.1
        /// The bound of the values; nil = none.
        package var maxValue: Double?

        /// A-LoL's head, unbounded.
        package init() {}
    }

    /// What the random zeros of a pass depend on: seed, step and the row's permanent id.
    package struct Dropout: Sendable {
        package var seed: UInt64
        package var step: Int
        package var rowIDs: [UInt64]

        /// Rows in the order of the pass.
        package init(seed: UInt64, step: Int, rowIDs: [UInt64]) {
            self.seed = seed
            self.step = step
            self.rowIDs = rowIDs
        }
    }

    package let kind: Kind
    package let settings: Settings
    /// Cells of a state.
    package let hiddenSize: Int
    package let parameters: [Parameter]
    private let device: Device
    private let seed: UInt64
    /// f32, or f64 in checks: heads compute in the type of their masters.
    private let dtype: DType

    /// A new head: torch's defaults, zeros for `linear`.
    ///
    /// - Parameter dtype: f32 or f64.
    /// - Throws: `KeelError` (config) when the heads do not divide the states.
    package init(
        _ kind: Kind, hiddenSize d: Int, settings: Settings = Settings(), seed: UInt64,
        dtype: DType = .f32, device: Device
    ) throws {
        guard kind != .attentionPool || d % settings.heads == 0 else {
            throw KeelError(
                "model", "\(settings.heads) attention heads cannot share states of \(d) cells",
                at: "value_head.heads", fix: "use a number that divides \(d)", code: .config)
        }
        self.kind = kind
        self.settings = settings
        self.device = device
        self.dtype = dtype
        self.seed = seed
        hiddenSize = d
        func parameter(
            _ name: String, _ shape: [Int], _ value: (RandomStream, UInt64) -> Double
        )
            -> Parameter
        {
            let stream = RandomStream(seed: seed, place: "init value_head.\(name)")
            let values = (0..<shape.reduce(1, *)).map { value(stream, UInt64($0)) }
            return Parameter(
                name: name, master: Tensor(values, shape: shape, dtype: dtype, device: device),
                compute: dtype)
        }
        func uniform(_ bound: Double) -> (RandomStream, UInt64) -> Double {
            { stream, n in (2 * stream.uniform(n) - 1) * bound }
        }
        let zero = { (_: RandomStream, _: UInt64) in 0.0 }
        let edge = 1 / Double(d).squareRoot()
        switch kind {
        case .linear:
            parameters = [
                parameter("linear.weight", [1, d], zero), parameter("linear.bias", [1], zero),
            ]
        case .attentionPool:
            let xavier = (6 / Double(4 * d)).squareRoot()
            parameters = [
                parameter("query", [d]) { $0.normal($1) },
                parameter("in_proj.weight", [3 * d, d], uniform(xavier)),
                parameter("in_proj.bias", [3 * d], zero),
                parameter("out_proj.weight", [d, d], uniform(edge)),
                parameter("out_proj.bias", [d], zero),
                parameter("linear.weight", [1, d], uniform(edge)),
                parameter("linear.bias", [1], uniform(edge)),
            ]
        case .mlpPool:
            parameters = [
                parameter("linear1.weight", [d, d], uniform(edge)),
                parameter("linear1.bias", [d], uniform(edge)),
                parameter("linear2.weight", [1, d], uniform(edge)),
                parameter("linear2.bias", [1], uniform(edge)),
            ]
        }
    }

    // MARK: Values

    /// Values of single states: `linear` alone.
    ///
    /// - Parameter states: `[n, hidden]`, differentiated when tracked.
    /// - Returns: `[n]`, f32 (f64 under f64).
    package func values(_ states: Tensor, tape: Tape) -> Tensor {
        precondition(kind == .linear, "values per token from a head of kind \(kind.rawValue)")
        return bounded(dense(states.cast(dtype), "linear", tape), rows: states.rows)
    }

    /// One value for each run of states: a prompt's, of which padding is no part.
    ///
    /// `linear` reads the last state of each run.
    ///
    /// - Parameters:
    ///   - states: `[sum of lengths, hidden]`, run after run.
    ///   - lengths: of the runs; none 0.
    ///   - dropout: nil leaves it out, as everywhere but in training.
    /// - Returns: `[runs]`, f32 (f64 under f64).
    package func pooled(
        _ states: Tensor, lengths: [Int], dropout: Dropout? = nil, tape: Tape
    ) -> Tensor {
        precondition(
            states.rows == lengths.reduce(0, +) && lengths.allSatisfy { $0 > 0 },
            "runs of \(lengths) in \(states.shape)")
        let x = states.cast(dtype)
        switch kind {
        case .linear:
            var end = 0
            let last = lengths.map { length -> Int32 in
                end += length
                return Int32(end - 1)
            }
            let rows = NN.gatherRows(x, Tensor(last, device: device))
            return bounded(dense(rows, "linear", tape), rows: lengths.count)
        case .attentionPool:
            let mixed = attend(
                dropped(x, lengths, dropout, "states"), lengths: lengths, tape)
            let ones = lengths.map { _ in 1 }
            return bounded(
                dense(dropped(mixed, ones, dropout, "pooled"), "linear", tape),
                rows: lengths.count)
        case .mlpPool:
            let hidden = dense(means(x, lengths), "linear1", tape).relu()
            let ones = lengths.map { _ in 1 }
            return bounded(
                dense(dropped(hidden, ones, dropout, "hidden"), "linear2", tape),
                rows: lengths.count)
        }
    }

    /// Multi-head attention of the one query over each run.
    private func attend(_ x: Tensor, lengths: [Int], _ tape: Tape) -> Tensor {
        let d = hiddenSize
        let weight = leaf("in_proj.weight", tape)
        let bias = leaf("in_proj.bias", tape)
        // Query, key and value projections stand below each other in one matrix.
        let query = leaf("query", tape).reshaped([1, d])
        // Scaled here, exactly: the kernel's own factor is a Float.
        let scale = (Double(settings.heads) / Double(d)).squareRoot()
        let q = NN.columns(NN.linear(query, weight: weight, bias: bias), 0..<d).scale(scale)
        let kv = NN.linear(x, weight: weight, bias: bias)
        let queries = NN.gatherRows(
            q, Tensor([Int32](repeating: 0, count: lengths.count), device: device))
        var start = 0
        let spans = lengths.enumerated().map { row, length in
            defer { start += length }
            return AttentionLayout.Span(queries: row..<row + 1, keys: [start..<start + length])
        }
        let mixed = NN.attention(
            queries, NN.columns(kv, d..<2 * d), NN.columns(kv, 2 * d..<3 * d),
            heads: settings.heads, kvHeads: settings.heads, layout: AttentionLayout(spans: spans),
            scale: 1)
        return dense(mixed, "out_proj", tape)
    }

    /// The mean state of each run.
    private func means(_ x: Tensor, _ lengths: [Int]) -> Tensor {
        var start = 0
        let parts = lengths.map { length in
            defer { start += length }
            return x.slice(axis: 0, start, start + length).mean(axis: 0).reshaped([1, hiddenSize])
        }
        return parts.count == 1 ? parts[0] : Tensor.concat(parts, axis: 0)
    }

    private func dense(_ x: Tensor, _ name: String, _ tape: Tape) -> Tensor {
        NN.linear(x, weight: leaf(name + ".weight", tape), bias: leaf(name + ".bias", tape))
    }

    private func bounded(_ z: Tensor, rows: Int) -> Tensor {
        let flat = z.reshaped([rows])
        return settings.maxValue.map { flat.sigmoid().scale($0) } ?? flat
    }

    /// Cells set to 0 with probability p, the others divided by 1 - p; the draws of a run depend on its row
    /// alone.
    private func dropped(
        _ x: Tensor, _ lengths: [Int], _ dropout: Dropout?, _ place: String
    ) -> Tensor {
        guard let dropout, settings.dropout > 0 else { return x }
        precondition(dropout.rowIDs.count == lengths.count, "row ids for \(lengths.count) runs")
        let keep = 1 / (1 - settings.dropout)
        var factors: [Double] = []
        factors.reserveCapacity(x.count)
        for (id, length) in zip(dropout.rowIDs, lengths) {
            let stream = RandomStream(
                seed: dropout.seed, place: "value_head dropout \(place)", UInt64(dropout.step), id)
            for cell in 0..<UInt64(length * x.columns) {
                factors.append(stream.uniform(cell) < settings.dropout ? 0 : keep)
            }
        }
        return x * Tensor(factors, shape: x.shape, dtype: dtype, device: device)
    }

    // MARK: Parameters

    /// The parameter of a name.
    package func parameter(named name: String) -> Parameter? {
        parameters.first { $0.name == name }
    }

    /// A parameter on the tape.
    private func leaf(_ name: String, _ tape: Tape) -> Tensor {
        guard let parameter = parameter(named: name) else {
            preconditionFailure("no parameter \(name) in a head of kind \(kind.rawValue)")
        }
        return parameter.leaf(on: tape)
    }

    /// Sets the gradients of all parameters to zero.
    package func zeroGradients() {
        for parameter in parameters { parameter.zeroGradient() }
    }

    /// Begins again, with the weights that a new head of its seed has.
    ///
    /// - Throws: nothing that `init` has not thrown.
    package func reset() throws {
        let new = try ValueHead(
            kind, hiddenSize: hiddenSize, settings: settings, seed: seed, dtype: dtype,
            device: device)
        assign(new.parameters.map(\.master))
    }

    /// The values of all parameters, in their order.
    package func copies() -> [Tensor] {
        parameters.map { parameter in
            let copy = Tensor(zeros: parameter.shape, dtype: dtype, device: device)
            copy.copy(from: parameter.master)
            return copy
        }
    }

    /// Takes over what `copies` gave.
    package func assign(_ copies: [Tensor]) {
        precondition(copies.count == parameters.count, "\(copies.count) tensors for a head")
        for (parameter, values) in zip(parameters, copies) { parameter.assign(values) }
    }

    // MARK: Files

    /// What a head is called in a checkpoint and in a finished run.
    package static let file = "value_head.safetensors"

    /// What the head of the best epoch so far is called in a checkpoint.
    package static let bestFile = "value_head.best.safetensors"

    /// Writes the masters as they are, or others in their place.
    ///
    /// - Throws: `KeelError` (io, cannotCreate).
    package func save(
        to folder: String, as name: String = ValueHead.file, _ values: [Tensor]? = nil
    ) throws {
        try SafetensorsWriter.write(
            Files.join(folder, name),
            zip(parameters, values ?? parameters.map(\.master)).map {
                SafetensorsWriter.Item($0.name, $1)
            },
            metadata: ["format": "pt", "keel_value_head": .string(kind.rawValue)])
    }

    /// Reads what `save` wrote, exactly.
    ///
    /// - Throws: `KeelError`: `noInput` for a missing file, `badData` for one of another head.
    package func load(from folder: String) throws {
        assign(try stored(in: folder, as: ValueHead.file))
    }

    /// What `save` wrote.
    ///
    /// - Throws: as `load`.
    package func stored(in folder: String, as name: String) throws -> [Tensor] {
        let file = try SafetensorsFile(Files.join(folder, name))
        return try parameters.map { parameter in
            guard let entry = file[parameter.name], entry.shape == parameter.shape else {
                throw KeelError(
                    "checkpoint",
                    "the value head has no \(parameter.name) of shape \(parameter.shape)",
                    at: file.path, fix: "it belongs to another model or kind of head",
                    code: .badData)
            }
            return try file.tensor(entry, dtype: dtype, device: device)
        }
    }
}
