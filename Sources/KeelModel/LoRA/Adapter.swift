import KeelCore
import KeelTensor

/// Trained changes to a frozen model: updates of low rank to linear layers, and whole replaced tensors.
///
///     y = W x + scale · B (A dropout(x))
///
/// A model without its adapter (`Model.base`) is the reference: no second copy of the weights exists.
package final class Adapter: @unchecked Sendable {
    /// One changed layer.
    struct Module {
        let linear: Linear
        /// A, `[rank, in]`.
        let down: Parameter
        /// B, `[out, rank]`.
        let up: Parameter
        let scale: Double
    }

    package let config: LoRAConfig
    /// By the name of the layer's weight.
    let modules: [String: Module]
    /// Tensors trained whole, by the name of the weight they stand for.
    ///
    /// Embedding and head of a tied model are two places; one tensor stands in both where the config ties them.
    let replaced: [String: Parameter]
    /// Everything that is trained, in the order of the model's layers, under PEFT's names.
    package let parameters: [Parameter]
    /// The draws of this step's dropout; nil = none.
    package var draws: (seed: UInt64, step: UInt64)?

    /// - Parameter values: the cells of a tensor, by its PEFT name and shape.
    /// - Throws: `KeelError` (badData) when the config names no layer, or one that cannot be changed.
    init(
        _ config: LoRAConfig, of model: Model,
        values: (String, _ shape: [Int], Start) throws -> Tensor
    ) throws {
        self.config = config
        let architecture = model.architecture
        try Adapter.check(config, architecture)
        var modules: [String: Module] = [:]
        var replaced: [String: Parameter] = [:]
        var parameters: [Parameter] = []
        func parameter(_ name: String, _ shape: [Int], _ start: Start) throws -> Parameter {
            let made = Parameter(
                name: Adapter.prefix + name,
                master: try values(Adapter.prefix + name, shape, start),
                compute: model.dtype)
            parameters.append(made)
            return made
        }
        for linear in config.layers(of: architecture) {
            let (rank, scale) = config.size(of: linear.module)
            let (down, up) = ([rank, linear.inputSize], [linear.outputSize, rank])
            let isEmbedding = linear.weight.name == architecture.embedding.name
            modules[linear.weight.name] = Module(
                linear: linear,
                down: isEmbedding
                    ? try parameter(linear.module + ".lora_embedding_A", down, .zeros)
                    : try parameter(linear.module + ".lora_A.weight", down, .uniform),
                up: isEmbedding
                    ? try parameter(linear.module + ".lora_embedding_B", up, .normal)
                    : try parameter(linear.module + ".lora_B.weight", up, .zeros),
                scale: scale)
        }
        for places in config.whole(of: architecture) {
            let whole = try parameter(places[0].name, places[0].shape, .copy(of: places[0]))
            for place in places { replaced[place.name] = whole }
        }
        self.modules = modules
        self.replaced = replaced
        self.parameters = parameters
    }

    /// How a new tensor starts.
    enum Start {
        /// Uniform in ± 1 / sqrt(columns), as PEFT's A.
        case uniform
        /// Standard normal, as PEFT's B of an embedding.
        case normal
        case zeros
        case copy(of: Weight)
    }

    /// What its file holds: the parameters, and one that stands in two places under both names.
    var saved: [(name: String, parameter: Parameter)] {
        let twins = replaced.compactMap { place, parameter in
            Adapter.prefix + place == parameter.name
                ? nil : (name: Adapter.prefix + place, parameter: parameter)
        }
        return parameters.map { ($0.name, $0) } + twins.sorted { $0.name < $1.name }
    }

    /// Whether a tensor of an adapter's file is a parameter under the name of its second place.
    ///
    /// - Throws: `KeelError` (badData) when the two are not the same.
    func isTwin(_ entry: SafetensorsFile.Entry, in file: SafetensorsFile) throws -> Bool {
        guard let own = saved.first(where: { $0.name == entry.name })?.parameter.master else {
            return false
        }
        guard entry.shape == own.shape,
            try file.tensor(entry, dtype: own.dtype, device: own.device).doubles() == own.doubles()
        else {
            throw KeelError(
                "model", "ensure_weight_tying is true, but embedding and head are not the same",
                at: "\(file.path), tensor \(entry.name)",
                fix: "set ensure_weight_tying to false in adapter_config.json", code: .badData)
        }
        return true
    }

    /// Whether embedding and head of a tied model are two tensors under it.
    func unties(_ architecture: Architecture) -> Bool {
        let (embedding, head) = (architecture.embedding.name, architecture.headWeight.name)
        return modules[embedding] != nil || modules[head] != nil
            || replaced[embedding] !== replaced[head]
    }

    /// What PEFT puts in front of a module's name.
    static let prefix = "base_model.model."

    /// Names that mean nothing are told with the names there are.
    private static func check(_ config: LoRAConfig, _ architecture: Architecture) throws {
        let layers =
            architecture.ends.embedding + architecture.linears + architecture.ends.head
        let modules = layers.map(\.module)
        let ends = Set(modules.compactMap { $0.split(separator: ".").last.map(String.init) })
            .sorted()
        if case .names(let names) = config.targets {
            guard !names.isEmpty || !config.modulesToSave.isEmpty else {
                throw KeelError(
                    "model", "LoRA changes no layer: target_modules is empty", code: .badData)
            }
            for name in names where !modules.contains(where: { LoRAConfig.names($0, name) }) {
                throw unknown(name, ends, architecture)
            }
        }
        for name in config.modulesToSave
        where !architecture.places.contains(where: { LoRAConfig.names($0.module, name) }) {
            throw KeelError(
                "model", "no module is called \"\(name)\"", at: "modules_to_save", code: .badData)
        }
        guard config.tiesWeights, architecture.hasTiedHead,
            let end = (architecture.ends.embedding + architecture.ends.head).first(where: {
                config.chooses($0.module)
            })
        else { return }
        throw KeelError(
            "model", "LoRA on \"\(end.module)\" with ensure_weight_tying: not supported",
            at: "ensure_weight_tying",
            fix: "leave it out (embedding and head then get updates of their own), or name "
                + "\(architecture.embedding.module) in modules_to_save", code: .badData)
    }

    /// Why a target means no layer.
    private static func unknown(
        _ name: String, _ ends: [String], _ architecture: Architecture
    ) -> KeelError {
        let isTensor = architecture.weights.contains { LoRAConfig.names($0.module, name) }
        return KeelError(
            "model",
            isTensor
                ? "LoRA on \"\(name)\": not supported; linear layers and the embedding are"
                : "no linear layer is called \"\(name)\"", at: "target_modules",
            fix: isTensor
                ? "train it whole: \"modules_to_save\": [\"\(name)\"]"
                : "use \"all-linear\", or some of: \(ends.joined(separator: ", "))",
            code: .badData)
    }

    // MARK: - In a pass

    /// What a changed embedding adds to the rows of some ids, or nil where it is as it was.
    ///
    ///     scale · B A[:, id]
    func update(of embedding: Weight, ids: Tensor, padding: Int32?, _ pass: Pass) -> Tensor? {
        guard let module = modules[embedding.name] else { return nil }
        let columns = pass.leaf(module.down).transposed()  // [vocabulary, rank]
        let small = NN.embedding(columns, ids: ids, padding: padding) * module.scale
        return NN.linear(small, weight: pass.leaf(module.up))
    }

    /// States and a head whose product has the update in it.
    ///
    ///     W h + scale · B A dropout(h) = [W, B] [h; scale · A dropout(h)]
    ///
    /// - Parameters:
    ///   - states: `[n, hidden]`.
    ///   - rows: of the batch that they are the states of.
    /// - Returns: nil where the head is as it was.
    func head(
        _ head: Weight, states: Tensor, rows: [Int32], _ pass: Pass
    ) -> (states: Tensor, weight: Tensor)? {
        guard let module = modules[head.name] else { return nil }
        let input = dropped(
            states, module.linear, pass,
            keys: pass.dropout.map { d in rows.map { d.keys[Int($0)] } })
        let small = NN.linear(input, weight: pass.leaf(module.down)) * module.scale
        return (
            NN.besides(states, small), NN.besides(pass[head], pass.leaf(module.up))
        )
    }

    /// What a changed head adds to the logits of some states, without gradient.
    ///
    /// - Returns: `[n, vocabulary]`, f32 (f64 under f64); nil where the head is as it was.
    func logits(_ head: Weight, states: Tensor, _ pass: Pass) -> Tensor? {
        guard let module = modules[head.name] else { return nil }
        let small = NN.linear(states, weight: pass.leaf(module.down)) * module.scale
        return NN.logits(small, weight: pass.leaf(module.up))
    }

    /// What a changed layer adds to its output, or nil for a layer that is as it was.
    func update(of linear: Linear, _ x: Tensor, _ pass: Pass) -> Tensor? {
        guard let module = modules[linear.weight.name] else { return nil }
        let input = dropped(x, linear, pass, keys: pass.dropout?.keys)
        let small = NN.linear(input, weight: pass.leaf(module.down)) * module.scale
        return NN.linear(small, weight: pass.leaf(module.up))
    }

    /// The input with some cells left out, the others scaled up to make good for them.
    ///
    /// Which ones depends on seed, step, layer and the token's own key: not on the batch it is in.
    private func dropped(
        _ x: Tensor, _ linear: Linear, _ pass: Pass, keys: [UInt64]?
    ) -> Tensor {
        guard config.dropout > 0, let draws = pass.dropout, let keys else { return x }
        precondition(keys.count == x.rows, "\(keys.count) keys for \(x.rows) rows")
        let stream = RandomStream(
            seed: draws.seed, place: "dropout \(linear.module)", draws.step)
        let limit = UInt32(config.dropout * 0x1p32)
        let columns = x.columns
        var kept = [UInt64](repeating: 0, count: (x.count + 63) / 64)
        func keep(_ cell: Int) { kept[cell >> 6] |= 1 << UInt64(cell & 63) }
        for (row, key) in keys.enumerated() {
            // One draw serves two cells.
            for pair in 0..<(columns + 1) / 2 {
                let bits = stream.bits(key &+ UInt64(pair))
                let at = row * columns + 2 * pair
                if UInt32(truncatingIfNeeded: bits) >= limit { keep(at) }
                if 2 * pair + 1 < columns, UInt32(bits >> 32) >= limit { keep(at + 1) }
            }
        }
        return NN.dropout(x, kept: kept, scale: Float(1 / (1 - config.dropout)))
    }
}

extension Linear {
    /// The module's name: that of its weight without `.weight`.
    var module: String { weight.module }

    var inputSize: Int { weight.shape[layout == .outIn ? 1 : 0] }
    var outputSize: Int { weight.shape[layout == .outIn ? 0 : 1] }
}

extension Weight {
    /// The name of the module that holds it.
    package var module: String {
        name.lastIndex(of: ".").map { String(name[..<$0]) } ?? name
    }
}

extension Architecture {
    /// The linear layers of the blocks, in order.
    package var linears: [Linear] {
        blocks.flatMap(\.linears)
    }

    /// Embedding and head as linear layers; two also where one tensor is both.
    ///
    /// An embedding is W of a token's one-hot row, `[vocabulary, hidden]`.
    var ends: (embedding: [Linear], head: [Linear]) {
        (
            [Linear(embedding, layout: .inOut)],
            hasLanguageHead ? [Linear(headWeight, layout: .outIn)] : []
        )
    }

    /// Whether the head that gives log-probabilities is the embedding.
    var hasTiedHead: Bool { hasLanguageHead && isTied }

    /// Every place a tensor stands in: the weights, and a tied head.
    package var places: [Weight] { weights + (hasTiedHead ? [headWeight] : []) }
}

extension Block {
    /// Its linear layers, in order.
    var linears: [Linear] {
        let inputs =
            switch attention.projection {
            case .separate(let query, let key, let value): [query, key, value]
            case .fused(let all), .interleaved(let all): [all]
            }
        let middle =
            switch mlp.kind {
            case .plain(let up): [up]
            case .gated(let gate, let up): [gate, up]
            case .fused(let both): [both]
            }
        return inputs + [attention.output] + middle + [mlp.down]
    }
}
