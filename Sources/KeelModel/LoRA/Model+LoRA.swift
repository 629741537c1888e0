import KeelCore
import KeelTensor

extension Model {
    /// This model with a new adapter that changes nothing yet: B is zero.
    ///
    /// The model's own tensors are shared and no longer trained.
    ///
    /// - Parameter seed: of A.
    /// - Throws: `KeelError` (badData) when the config does not fit the model.
    package func adapted(_ config: LoRAConfig, seed: UInt64) throws -> Model {
        let type = dtype.accumulator
        let adapter = try Adapter(config, of: self) { name, shape, start in
            switch start {
            case .zeros: return Tensor(zeros: shape, dtype: type, device: self.device)
            case .copy(let weight): return self.copy(of: weight)
            case .normal:
                let stream = RandomStream(seed: seed, place: "lora \(name)")
                let values = (0..<shape[0] * shape[1]).map { Float(stream.normal(UInt64($0))) }
                return Tensor(values, shape: shape, dtype: type, device: self.device)
            case .uniform:
                let stream = RandomStream(seed: seed, place: "lora \(name)")
                let bound = 1 / Double(shape[1]).squareRoot()
                let values = (0..<shape[0] * shape[1]).map {
                    Float((2 * stream.uniform(UInt64($0)) - 1) * bound)
                }
                return Tensor(values, shape: shape, dtype: type, device: self.device)
            }
        }
        if architecture.hasTiedHead, adapter.unties(architecture) {
            Log.warning(
                "embedding and head of this model are one tensor, and the adapter changes them apart: a merged "
                    + "model will have two (ensure_weight_tying keeps what modules_to_save names one)"
            )
        }
        return adapted(by: adapter)
    }

    /// The model of a directory with the adapter of another; an adapter of a classifier makes it a reward model.
    ///
    /// - Throws: `KeelError`, as `Model.load` and `adapted(directory:)`, and `badData` for a classifier's adapter
    ///   without its score head.
    package static func load(
        directory: String, adapter: String, dtype: DType, device: Device,
        hasMaster: (Weight) -> Bool = { _ in false }
    ) throws -> Model {
        let path = Files.join(adapter, "adapter_config.json")
        let json = try JSON.parse(try Files.read(path), name: path, duplicates: .reject)
        let isClassifier = json["task_type"] == "SEQ_CLS"
        let below = try Model.load(
            directory: directory, dtype: dtype, device: device,
            outputs: isClassifier ? .score : nil, hasMaster: hasMaster)
        let model = try below.adapted(directory: adapter)
        guard isClassifier, !below.config.isClassifier,
            model.scoreParameter === below.scoreParameter
        else { return model }
        throw KeelError(
            "model", "the adapter scores texts, but neither it nor its model has a score head",
            at: path, fix: "use an adapter with \"score\" in modules_to_save", code: .badData)
    }

    /// This model with the adapter of a PEFT directory.
    ///
    /// - Throws: `KeelError`: `noInput` for missing files, `badData` for what is wrong in them, does not fit the
    ///   model or is not supported.
    package func adapted(directory: String) throws -> Model {
        let path = Files.join(directory, "adapter_config.json")
        let config = try LoRAConfig(
            try JSON.parse(try Files.read(path), name: path, duplicates: .reject), path: path)
        let weights = Files.join(directory, "adapter_model.safetensors")
        guard Files.exists(weights) else {
            throw KeelError(
                "model", "no adapter_model.safetensors in the adapter's folder", at: weights,
                fix: Files.exists(Files.join(directory, "adapter_model.bin"))
                    ? "save the adapter as safetensors; pickle files are not read"
                    : "give the folder that holds adapter_config.json and adapter_model.safetensors",
                code: .noInput)
        }
        let file = try SafetensorsFile(weights)
        let type = dtype.accumulator
        var used: Set<String> = []
        let adapter = try Adapter(config, of: self) { name, shape, _ in
            guard let entry = file[name] else {
                throw KeelError(
                    "model", "the adapter has no tensor \(name)", at: weights,
                    fix: "adapter and model do not belong together", code: .badData)
            }
            guard entry.shape == shape else {
                throw KeelError(
                    "model",
                    "tensor of shape \(entry.shape), where the model and the adapter's config make it \(shape)",
                    at: "\(weights), tensor \(name)",
                    fix: "adapter and model do not belong together", code: .badData)
            }
            used.insert(name)
            return try file.tensor(entry, dtype: type, device: self.device)
        }
        for entry in file.entries where !used.contains(entry.name) {
            if try adapter.isTwin(entry, in: file) || isCopy(entry, in: file, of: adapter) {
                continue
            }
            throw KeelError(
                "model", "the adapter changes a layer that the model does not have",
                at: "\(weights), tensor \(entry.name)",
                fix: "adapter and model do not belong together", code: .badData)
        }
        return adapted(by: adapter)
    }

    /// Whether a tensor of an adapter's file is the weight below an update: PEFT saves those of embedding and head.
    ///
    /// - Throws: `KeelError` (badData) when it is not the model's.
    private func isCopy(
        _ entry: SafetensorsFile.Entry, in file: SafetensorsFile, of adapter: Adapter
    ) throws -> Bool {
        let weight = adapter.modules.first {
            entry.name == Adapter.prefix + $0.value.linear.module + ".base_layer.weight"
        }
        guard let weight else { return false }
        let own = copy(of: weight.value.linear.weight)
        guard entry.shape == own.shape,
            try file.tensor(entry, dtype: own.dtype, device: device).doubles() == own.doubles()
        else {
            throw KeelError(
                "model", "the adapter was trained on another \(weight.value.linear.module)",
                at: "\(file.path), tensor \(entry.name)",
                fix:
                    "load it with the model it was trained on; a resized or retrained one must be saved with it",
                code: .badData)
        }
        return true
    }

    /// Writes the adapter as PEFT does: adapter_config.json and adapter_model.safetensors, and the tokenizer.
    ///
    /// - Parameter base: what `base_model_name_or_path` says.
    /// - Throws: `KeelError` (io, cannotCreate).
    package func saveAdapter(to folder: String, base: String) throws {
        guard let adapter else { preconditionFailure("a model without an adapter") }
        try Files.makeDirectory(folder)
        try SafetensorsWriter.write(
            Files.join(folder, "adapter_model.safetensors"),
            adapter.saved.map { SafetensorsWriter.Item($0.name, $0.parameter.master, as: .f32) })
        var config: JSONObject = [
            "peft_type": "LORA", "base_model_name_or_path": .string(base),
            "task_type": architecture.score == nil ? "CAUSAL_LM" : "SEQ_CLS", "bias": "none",
            "inference_mode": true, "use_dora": false, "init_lora_weights": true,
            "fan_in_fan_out": .bool(
                architecture.linears.contains {
                    $0.layout == .inOut && adapter.modules[$0.weight.name] != nil
                }),
        ]
        for (key, value) in adapter.config.json.object ?? JSONObject() { config[key] = value }
        if case .allLinear = adapter.config.targets {
            // PEFT writes the names that "all-linear" came to.
            let names = Set(
                architecture.linears.compactMap { $0.module.split(separator: ".").last })
            config["target_modules"] = .array(names.sorted().map { .string(String($0)) })
        }
        try AtomicWrite.file(
            Files.join(folder, "adapter_config.json"), JSON.object(config).text(pretty: true) + "\n"
        )
        try copyCompanions(to: folder, from: directory)
    }

    /// The model with the adapter's changes in its own weights, and no adapter.
    ///
    ///     W' = W + scale · B A
    ///
    /// A tied head that has changed apart from its embedding becomes a tensor of its own.
    package func merged() -> Model {
        guard let adapter else { return self }
        return rebuilt(untied: architecture.hasTiedHead && adapter.unties(architecture)) {
            weight, parameter in
            if let whole = adapter.replaced[weight] { return whole.master }
            guard let module = adapter.modules[weight] else { return nil }
            let (up, down) = (module.up.master, module.down.master)
            // [out, rank] times [rank, in].
            let update = NN.linear(up, weightIO: down) * module.scale
            let turned = module.linear.layout == .outIn ? update : update.transposed()
            return parameter.master + turned
        }
    }
}
