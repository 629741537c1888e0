import KeelCore
import KeelModel
import KeelTensor

/// `keel model info`, `init` and `merge`.
package enum ModelCommand {
    /// What a Hugging Face directory holds, without reading the weights themselves.
    ///
    /// - Throws: `KeelError` for missing or damaged files and models that are not supported.
    package static func info(_ path: String) throws -> ModelReport {
        let directory = try ModelDirectory(path)
        let matched = try directory.match()
        let architecture = directory.architecture
        let attention = architecture.blocks[0].attention
        let total = matched.reduce(0) { $0 + $1.weight.count }
        let embeddings =
            architecture.embedding.count + (architecture.positions?.count ?? 0)
            + (architecture.head?.count ?? 0)
        return ModelReport(items: [
            ("path", .string(Files.absolute(path))),
            ("family", .string(architecture.family)),
            ("architectures", .array(directory.config.architectures.map { .string($0) })),
            ("parameters", JSON(total)),
            ("parameters_without_embeddings", JSON(total - embeddings)),
            ("tensors", JSON(matched.count)),
            (
                "dtype",
                .string(
                    directory.weights.commonType.configName ?? directory.weights.commonType.rawValue
                )
            ),
            ("bytes", JSON(directory.weights.bytes)),
            ("vocabulary", JSON(architecture.vocabularySize)),
            ("context", JSON(architecture.contextLength)),
            ("layers", JSON(architecture.blocks.count)),
            ("hidden", JSON(architecture.hiddenSize)),
            ("heads", JSON(attention.heads)),
            ("kv_heads", JSON(attention.kvHeads)),
            ("head_dim", JSON(attention.headSize)),
            ("tied_head", .bool(architecture.isTied)),
            ("eos", .array(directory.eosIDs.map { .int(Int64($0)) })),
            ("tokenizer", .bool(Files.exists(Files.join(path, "tokenizer.json")))),
        ])
    }

    /// Makes a Hugging Face directory with new, random weights.
    ///
    /// - Parameters:
    ///   - config: a config.json.
    ///   - tokenizer: a tokenizer.json, or the folder that holds one; its neighbours come along.
    ///   - seed: of the weights.
    ///   - out: a folder that does not exist yet, or is empty.
    /// - Throws: `KeelError`; then `out` is as it was.
    package static func initialise(
        config: String, tokenizer: String, seed: UInt64, out: String, threads: Int? = nil
    ) throws {
        try requireFree(out)
        let settings = try KeelModel.ModelConfig(path: config)
        let architecture = try Families.architecture(of: settings)
        let bytes = architecture.weights.reduce(0.0) { $0 + 4 * Double($1.count) }
        guard bytes < Double(Machine.memory) else {
            throw KeelError(
                "model",
                "the new weights need \((bytes / 0x1p20).text(digits: 4)) MiB, the machine has \(Machine.memory >> 20)",
                at: config, fix: "describe a smaller model", code: .badData)
        }
        let source = Files.isDirectory(tokenizer) ? tokenizer : Files.parent(tokenizer)
        let file =
            Files.isDirectory(tokenizer) ? Files.join(tokenizer, "tokenizer.json") : tokenizer
        _ = try JSON.parse(try Files.read(file), name: file)
        let model = try Model.new(
            settings, seed: seed, device: .cpu(threads: threads ?? Machine.cores))
        try AtomicWrite.directory(out) { folder in
            try model.save(to: folder, companionsFrom: source.isEmpty ? "." : source)
            try Files.copy(file, to: Files.join(folder, "tokenizer.json"))
            let generation = Files.join(folder, "generation_config.json")
            if !Files.exists(generation) {
                try AtomicWrite.file(
                    generation, generationConfig(settings).text(pretty: true) + "\n")
            }
        }
    }

    /// The special ids that generation needs, as transformers derives them from a config.
    private static func generationConfig(_ config: KeelModel.ModelConfig) -> JSON {
        var object: JSONObject = ["_from_model_config": true]
        for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            if let id = config[key] { object.append(key, id) }
        }
        return .object(object)
    }
}

/// What `keel model info` prints.
package struct ModelReport: Sendable {
    package let items: [(String, JSON)]

    package var json: JSON { .object(JSONObject(pairs: items)) }

    package var text: String {
        items.map { name, value in
            let label = name.split(separator: "_").joined(separator: " ")
            return label + String(repeating: " ", count: max(1, 30 - label.count))
                + (value.string ?? value.text())
        }.joined(separator: "\n")
    }
}

extension ModelCommand {
    /// Writes a model with an adapter's changes in its weights.
    ///
    /// - Parameters:
    ///   - adapter: a PEFT folder.
    ///   - base: the model it belongs to; nil = what the adapter names, from its own folder or from here.
    ///   - out: a folder that does not exist yet, or is empty.
    /// - Throws: `KeelError`; then `out` is as it was.
    package static func merge(
        adapter: String, base: String?, out: String, threads: Int? = nil
    ) throws {
        try requireFree(out)
        let folder = try base ?? ModelSource.base(of: adapter, fix: "name it: --base DIR")
        let model = try Model.load(
            directory: folder, adapter: adapter, dtype: .f32,
            device: .cpu(threads: threads ?? Machine.cores))
        let merged = model.merged()
        try AtomicWrite.directory(out) { try merged.save(to: $0) }
    }

    /// - Throws: `KeelError` (cannotCreate) for a folder in use.
    private static func requireFree(_ out: String) throws {
        guard Files.exists(out), try !Files.isDirectory(out) || !Files.list(out).isEmpty else {
            return
        }
        throw KeelError(
            "model", "the folder for the new model is in use", at: out, fix: "name a new folder",
            code: .cannotCreate)
    }
}
