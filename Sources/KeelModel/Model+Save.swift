import KeelCore
import KeelTensor

extension Model {
    /// Files beside the weights that go with a model wherever it is saved.
    package static let companions = [
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
        "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json",
        "generation_config.json",
    ]

    /// Puts the model into a folder that transformers loads: config.json, model.safetensors, tokenizer.
    ///
    /// config.json keeps every key it came with; only its dtype is set to what is stored. Each file is
    /// written whole or not at all; to have the folder whole or not at all, call this inside
    /// `AtomicWrite.directory`.
    ///
    /// - Parameters:
    ///   - dtype: what the weights are stored as: f32 keeps the master copies exactly; bf16 rounds them.
    ///   - source: where tokenizer and generation files come from; nil = where the model was loaded from.
    /// - Throws: `KeelError` (io, cannotCreate).
    package func save(
        to folder: String, as dtype: DType = .f32, companionsFrom source: String? = nil
    ) throws {
        try Files.makeDirectory(folder)
        try SafetensorsWriter.write(
            Files.join(folder, "model.safetensors"),
            parameters.map { SafetensorsWriter.Item($0.name, $0.master, as: dtype) })
        try AtomicWrite.file(
            Files.join(folder, "config.json"),
            JSON.object(savedConfig(dtype)).text(pretty: true) + "\n")
        try copyCompanions(to: folder, from: source ?? directory)
    }

    /// Tokenizer and generation files.
    func copyCompanions(to folder: String, from source: String?) throws {
        guard let source, Files.absolute(source) != Files.absolute(folder) else { return }
        for name in Model.companions {
            let from = Files.join(source, name)
            if Files.isRegular(from) { try Files.copy(from, to: Files.join(folder, name)) }
        }
    }

    /// The config as it was, with the stored type under the key that the file uses.
    private func savedConfig(_ dtype: DType) -> JSONObject {
        var object = config.source
        let name: JSON = dtype == .bf16 ? "bfloat16" : dtype == .f64 ? "float64" : "float32"
        if object["torch_dtype"] != nil { object["torch_dtype"] = name }
        if object["dtype"] != nil || object["torch_dtype"] == nil { object["dtype"] = name }
        if architecture.score != nil {
            describeScore(&object)
        } else if config.isClassifier {
            object["architectures"] = [.string(config.className + "ForCausalLM")]
        }
        return object
    }

    /// What makes transformers load a trunk with `score.weight` as a reward model.
    ///
    /// It reads the score at the last token that is not `pad_token_id`; we read it at the last token there
    /// is, and say so under a key of our own. An id that ends texts is therefore no filler.
    private func describeScore(_ object: inout JSONObject) {
        object["architectures"] = [.string(config.className + "ForSequenceClassification")]
        object["id2label"] = ["0": "LABEL_0"]
        object["label2id"] = ["LABEL_0": 0]
        if object["num_labels"] != nil { object["num_labels"] = 1 }
        object["score_position"] = "last_token"
        if let pad = config.padID, config.eosIDs.contains(pad) { object["pad_token_id"] = .null }
    }
}
