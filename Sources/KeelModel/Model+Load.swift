import KeelCore
import KeelTensor

extension Model {
    /// Loads a Hugging Face directory.
    ///
    /// - Parameters:
    ///   - dtype: f32, bf16 (f32 master weights, bf16 compute) or f64.
    ///   - device: where it lives.
    /// - Throws: `KeelError`: `noInput` for missing files, `badData` for what is wrong in them or not supported.
    package static func load(directory: String, dtype: DType, device: Device) throws -> Model {
        let layout = try ModelDirectory(directory)
        let found = try layout.match()
        let master: DType = dtype == .f64 ? .f64 : .f32
        var byWeight: [String: Parameter] = [:]
        for (weight, location) in found {
            byWeight[weight.name] = Parameter(
                name: location.entry.name,
                master: try location.tensor(dtype: master, device: device), compute: dtype)
        }
        let byName = Dictionary(uniqueKeysWithValues: byWeight.values.map { ($0.name, $0) })
        return Model(
            config: layout.config, architecture: layout.architecture, device: device, dtype: dtype,
            parameters: layout.weights.names.compactMap { byName[$0] }, byWeight: byWeight,
            directory: directory,
            storedType: layout.weights.commonType, eosIDs: layout.eosIDs)
    }

    /// A new model with random weights: normal with `initializer_range`, norms 1, biases 0.
    ///
    /// Every tensor has its own stream, keyed by its name: the same seed and name give the same numbers.
    ///
    /// - Throws: `KeelError` (badData) for a config that is wrong or not supported.
    package static func new(
        _ config: ModelConfig, seed: UInt64, dtype: DType = .f32, device: Device
    ) throws
        -> Model
    {
        let architecture = try Families.architecture(of: config)
        let std = try config.initializerRange()
        let master: DType = dtype == .f64 ? .f64 : .f32
        var parameters: [Parameter] = []
        for weight in architecture.weights {
            let tensor: Tensor
            switch weight.start {
            case .zeros: tensor = Tensor(zeros: weight.shape, dtype: master, device: device)
            case .ones:
                tensor = Tensor(filled: 1, shape: weight.shape, dtype: master, device: device)
            case .normal(let scale):
                let stream = RandomStream(seed: seed, place: "init \(weight.name)")
                var values = (0..<weight.count).map {
                    Float(stream.normal(UInt64($0)) * std * scale)
                }
                if weight == architecture.embedding, let row = architecture.paddingID {
                    let start = Int(row) * architecture.hiddenSize
                    values.replaceSubrange(
                        start..<start + architecture.hiddenSize,
                        with: repeatElement(0, count: architecture.hiddenSize))
                }
                tensor = Tensor(values, shape: weight.shape, dtype: master, device: device)
            }
            parameters.append(Parameter(name: weight.name, master: tensor, compute: dtype))
        }
        return Model(
            config: config, architecture: architecture, device: device, dtype: dtype,
            parameters: parameters,
            byWeight: Dictionary(uniqueKeysWithValues: parameters.map { ($0.name, $0) }),
            directory: nil,
            storedType: .f32, eosIDs: config.eosIDs)
    }
}

/// A Hugging Face directory, opened and understood, no weights read yet.
package struct ModelDirectory {
    /// The folder.
    package let path: String
    /// Its config.json.
    package let config: ModelConfig
    /// What the config describes.
    package let architecture: Architecture
    /// Its weight files, mapped.
    package let weights: WeightFiles
    /// Of generation_config.json first, then of config.json; each once.
    package let eosIDs: [Int32]

    /// - Throws: `KeelError`: `noInput` for missing files, `badData` for what is wrong in them or not supported.
    package init(_ path: String) throws {
        self.path = path
        guard Files.isDirectory(path) else {
            throw KeelError(
                "model", Files.exists(path) ? "not a folder" : "no such folder", at: path,
                fix: "give a folder with config.json, model.safetensors and tokenizer.json",
                code: .noInput)
        }
        config = try ModelConfig(path: Files.join(path, "config.json"))
        architecture = try Families.architecture(of: config)
        weights = try WeightFiles(directory: path)
        var ids: [Int32] = []
        let generation = Files.join(path, "generation_config.json")
        if Files.exists(generation) {
            let json = try JSON.parse(try Files.read(generation), name: generation)
            ids = ModelConfig.ids(json["eos_token_id"])
        }
        for id in config.eosIDs where !ids.contains(id) { ids.append(id) }
        eosIDs = ids
    }

    /// Finds every weight of the architecture in the files, whichever of the family's spellings they use.
    ///
    /// - Throws: `KeelError` (badData) for a missing tensor or one of another shape.
    package func match() throws -> [(weight: Weight, location: WeightFiles.Location)] {
        var used: Set<String> = []
        let prefix = architecture.optionalPrefix
        let found = try architecture.weights.map { weight in
            let short =
                weight.name.hasPrefix(prefix)
                ? String(weight.name.dropFirst(prefix.count)) : weight.name
            guard let location = weights[weight.name] ?? weights[short] else {
                throw KeelError(
                    "model", "the weights have no tensor \(weight.name)",
                    at: weights.files.first?.path ?? path,
                    fix: weight == architecture.head
                        ? "set \"tie_word_embeddings\": true if the embedding is the head"
                        : "config.json and the weights do not belong together",
                    code: .badData)
            }
            guard location.entry.shape == weight.shape else {
                throw KeelError(
                    "model",
                    "tensor of shape \(location.entry.shape), but config.json makes it \(weight.shape)",
                    at: "\(location.file.path), tensor \(location.entry.name)",
                    fix: "config.json and the weights do not belong together", code: .badData)
            }
            used.insert(location.entry.name)
            return (weight, location)
        }
        let unused = weights.names.filter { name in
            !used.contains(name) && !(architecture.isTied && name == "lm_head.weight")
                && !architecture.ignoredSuffixes.contains { name.hasSuffix($0) }
        }
        if let first = unused.first {
            let others = unused.count == 1 ? "" : " and \(unused.count - 1) more"
            Log.warning(
                "\(path): tensor \(first)\(others) of the weight file is not part of the model and is left out"
            )
        }
        return found
    }

    /// SHA-256 over config.json and the weight files: names these weights in caches.
    ///
    /// - Throws: `KeelError` (io).
    package func contentHash() throws -> String {
        var hash = SHA256()
        for file in [config.path] + weights.files.map(\.path) {
            hash.update("\(Files.name(file)) \(try SHA256.hex(file: file))\n")
        }
        return hash.hex()
    }
}
