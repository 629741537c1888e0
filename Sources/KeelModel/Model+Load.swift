import KeelCore
import KeelTensor

extension Model {
    /// Loads a Hugging Face directory.
    ///
    /// - Parameters:
    ///   - dtype: f32, bf16 (f32 master weights, bf16 compute) or f64.
    ///   - device: where it lives.
    ///   - outputs: the heads it gets; nil = those its config.json names. A language model asked for a score
    ///     gets a new score head, which makes it a reward model or a critic.
    ///   - scoreStart: how a new score head starts.
    ///   - seed: of a new score head.
    ///   - hasMaster: whether a weight has an f32 master of its own beside its bf16 copy: those that are trained.
    ///     One without is frozen.
    ///   - isFingerprinted: whether the content hash of the folder is taken on the way, of the bytes that are read.
    ///   - padID: what fills rows, for the config of a model with a new score head that does not say so:
    ///     transformers needs it to score batches. An id that ends texts is left out, or it would not be scored.
    /// - Throws: `KeelError`: `noInput` for missing files, `badData` for what is wrong in them or not supported.
    package static func load(
        directory: String, dtype: DType, device: Device, outputs: Outputs? = nil,
        scoreStart: Weight.Start = .normal(1), seed: UInt64 = 0, padID: Int32? = nil,
        isFingerprinted: Bool = false, hasMaster: (Weight) -> Bool = { _ in true }
    ) throws -> Model {
        let layout = try ModelDirectory(
            directory, outputs: outputs, scoreStart: scoreStart, padID: padID)
        let found = try layout.match()
        let std = try layout.config.initializerRange()
        var byWeight: [String: Parameter] = [:]
        var new: [Parameter] = []
        var reading = WeightReading()
        for (weight, location) in found {
            let isTrained = hasMaster(weight)
            let master = isTrained ? dtype.accumulator : dtype
            let parameter: Parameter
            if let location {
                parameter = Parameter(
                    name: location.entry.name, roomFor: weight.shape, master: master,
                    compute: dtype, device: device)
                let rounded = parameter.compute.dtype == master ? nil : parameter.compute
                try reading.add(
                    location.entry, of: location.file, to: parameter.master, rounded: rounded)
            } else {
                let values = weight.new(seed: seed, std: std, dtype: master, device: device)
                parameter = Parameter(name: weight.name, master: values, compute: dtype)
                new.append(parameter)
            }
            parameter.isTrained = isTrained
            byWeight[weight.name] = parameter
        }
        let fingerprints = try reading.run(
            on: device, fingerprints: isFingerprinted ? layout.weights.files : [])
        let byName = Dictionary(uniqueKeysWithValues: byWeight.values.map { ($0.name, $0) })
        return Model(
            config: layout.config, architecture: layout.architecture, device: device, dtype: dtype,
            parameters: layout.weights.names.compactMap { byName[$0] } + new, byWeight: byWeight,
            directory: directory,
            storedType: layout.weights.commonType, eosIDs: layout.eosIDs,
            contentHash: isFingerprinted ? try layout.contentHash(fingerprints) : nil)
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
            let tensor = weight.new(seed: seed, std: std, dtype: master, device: device)
            if weight == architecture.embedding, let row = architecture.paddingID {
                tensor.rowsView(Int(row), 1).zero()
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
    /// The files need not hold the score head that was asked for.
    private let isNewScore: Bool

    /// - Parameters:
    ///   - outputs: the heads that are wanted; nil = those config.json names.
    ///   - scoreStart: how a score head starts that the files do not hold.
    ///   - padID: as `Model.load` takes it.
    /// - Throws: `KeelError`: `noInput` for missing files, `badData` for what is wrong in them or not supported.
    package init(
        _ path: String, outputs: Outputs? = nil, scoreStart: Weight.Start = .normal(1),
        padID: Int32? = nil
    ) throws {
        self.path = path
        guard Files.isDirectory(path) else {
            throw KeelError(
                "model", Files.exists(path) ? "not a folder" : "no such folder", at: path,
                fix: "give a folder with config.json, model.safetensors and tokenizer.json",
                code: .noInput)
        }
        var config = try ModelConfig(path: Files.join(path, "config.json"))
        if outputs?.contains(.score) == true, config.padID == nil, let padID,
            !config.eosIDs.contains(padID)
        {
            var source = config.source
            source["pad_token_id"] = .int(Int64(padID))
            config = ModelConfig(source, path: config.path)
        }
        self.config = config
        let own = try Families.architecture(of: config)
        isNewScore = outputs?.contains(.score) == true && own.score == nil
        architecture = outputs.map { own.with($0, scoreStart: scoreStart) } ?? own
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
    /// - Returns: no location for a score head that is new.
    /// - Throws: `KeelError` (badData) for a missing tensor or one of another shape.
    package func match() throws -> [(weight: Weight, location: WeightFiles.Location?)] {
        var used: Set<String> = []
        let prefix = architecture.optionalPrefix
        let found: [(Weight, WeightFiles.Location?)] = try architecture.weights.map { weight in
            if isNewScore, weight == architecture.score, weights[weight.name] == nil {
                return (weight, nil)
            }
            let short =
                weight.name.hasPrefix(prefix)
                ? String(weight.name.dropFirst(prefix.count)) : weight.name
            guard let location = weights[weight.name] ?? weights[short] else {
                throw KeelError(
                    "model", "the weights have no tensor \(weight.name)",
                    at: weights.files.first?.path ?? path,
                    fix: weight == architecture.score
                        ? "\"architectures\" in config.json says reward model: give the folder of one"
                        : weight == architecture.head
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
            !used.contains(name) && !isHead(name)
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

    /// A head that this model does without: a tied one's copy, or another kind of model's.
    private func isHead(_ name: String) -> Bool {
        switch name {
        case "lm_head.weight": architecture.isTied || !architecture.hasLanguageHead
        case architecture.head?.name: !architecture.hasLanguageHead
        case "score.weight": architecture.score == nil
        default: false
        }
    }

    /// SHA-256 over config.json and the weight files: names these weights in caches.
    ///
    /// - Throws: `KeelError` (io).
    package func contentHash(on device: Device) throws -> String {
        try contentHash(WeightReading().run(on: device, fingerprints: weights.files))
    }

    /// - Parameter fingerprints: of the weight files, as `WeightReading` gives them.
    fileprivate func contentHash(_ fingerprints: [String: String]) throws -> String {
        var hash = SHA256()
        hash.update("\(Files.name(config.path)) \(try SHA256.hex(file: config.path))\n")
        for file in weights.files {
            hash.update("\(Files.name(file.path)) \(fingerprints[file.path] ?? "")\n")
        }
        return hash.hex()
    }
}
