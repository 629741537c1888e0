import Glibc
import KeelCore

/// A Hugging Face `config.json`, read with checks; both spellings of transformers 4 and 5.
package struct ModelConfig: Sendable {
    /// The file's path, for errors.
    package let path: String
    /// Everything the file says, in its order: written back as it was.
    package let source: JSONObject

    /// - Throws: `KeelError`: `noInput` when the file is missing, `badData` when it is no JSON object.
    package init(path: String) throws {
        let json: JSON
        do {
            json = try JSON.parse(try Files.read(path), name: path, duplicates: .reject)
        } catch let error as KeelError {
            throw error.fixed(by: ModelConfig.getAgain)
        }
        guard let object = json.object else {
            throw KeelError(
                "model", "config.json holds \(json.kind), not an object", at: path,
                fix: ModelConfig.getAgain, code: .badData)
        }
        self.init(object, path: path)
    }

    private static let getAgain = "get the model's config.json again"

    /// A config that is no file: `path` is what errors name.
    package init(_ source: JSONObject, path: String) {
        self.source = source
        self.path = path
    }

    // MARK: Values

    /// The value of a key; null counts as absent.
    package subscript(key: String) -> JSON? {
        guard let value = source[key], !value.isNull else { return nil }
        return value
    }

    /// An integer in `range`.
    ///
    /// - Parameter fallback: used when the key is absent; nil = the key is needed.
    /// - Throws: `KeelError` (badData) that names the key.
    package func int(
        _ key: String, default fallback: Int? = nil, in range: ClosedRange<Int> = 1...(1 << 24)
    ) throws -> Int {
        guard let value = self[key] else {
            guard let fallback else { throw missing(key) }
            return fallback
        }
        guard let number = value.int, range.contains(number) else {
            throw bad(
                key,
                "\(value.text()) is not an integer in \(range.lowerBound)...\(range.upperBound)")
        }
        return number
    }

    /// A finite number.
    ///
    /// - Throws: `KeelError` (badData) that names the key.
    package func number(_ key: String, default fallback: Double? = nil) throws -> Double {
        guard let value = self[key] else {
            guard let fallback else { throw missing(key) }
            return fallback
        }
        guard let number = value.double, number.isFinite else {
            throw bad(key, "\(value.text()) is not a number")
        }
        return number
    }

    /// - Throws: `KeelError` (badData) that names the key.
    package func bool(_ key: String, default fallback: Bool) throws -> Bool {
        guard let value = self[key] else { return fallback }
        guard let flag = value.bool else { throw bad(key, "\(value.text()) is not true or false") }
        return flag
    }

    /// - Throws: `KeelError` (badData) that names the key.
    package func string(_ key: String, default fallback: String? = nil) throws -> String {
        guard let value = self[key] else {
            guard let fallback else { throw missing(key) }
            return fallback
        }
        guard let text = value.string else { throw bad(key, "\(value.text()) is not a string") }
        return text
    }

    // MARK: What all families share

    /// The family's name: "llama", "gpt2", ...
    package func modelType() throws -> String { try string("model_type") }

    /// "LlamaForCausalLM" and the like; may be absent.
    package var architectures: [String] {
        (self["architectures"]?.array ?? []).compactMap(\.string)
    }

    /// What the class names of models that can be read end in.
    ///
    /// A bare "LlamaModel" has the same tensors, without a head; the weights tell.
    private static let classSuffixes = [
        "ForCausalLM", "LMHeadModel", "ForSequenceClassification", "Model",
    ]

    /// `*ForSequenceClassification`: a reward model, with `score.weight` instead of an LM head.
    package var isClassifier: Bool {
        architectures.contains { $0.hasSuffix("ForSequenceClassification") }
    }

    /// The numbers a classifier gives: `num_labels`, or as many as `id2label` names; 2 without either.
    ///
    /// - Throws: `KeelError` (badData) for a `num_labels` that is no number.
    package func labelCount() throws -> Int {
        try int("num_labels", default: self["id2label"]?.object?.pairs.count ?? 2)
    }

    /// "Llama" of "LlamaForCausalLM"; of the family's name where the file names no class.
    var className: String {
        for suffix in ModelConfig.classSuffixes {
            if let name = architectures.first(where: { $0.hasSuffix(suffix) }) {
                return String(name.dropLast(suffix.count))
            }
        }
        let family = self["model_type"]?.string ?? ""
        return family == "gpt2" ? "GPT2" : family.prefix(1).uppercased() + family.dropFirst()
    }

    /// Ids that end a text: `eos_token_id`, one or a list.
    package var eosIDs: [Int32] { ModelConfig.ids(self["eos_token_id"]) }

    /// The id that begins a text.
    package var bosID: Int32? { ModelConfig.ids(self["bos_token_id"]).first }

    /// The id that fills rows.
    package var padID: Int32? { ModelConfig.ids(self["pad_token_id"]).first }

    /// `dtype` (transformers 5) or `torch_dtype`.
    package var dtypeName: String? {
        (self["dtype"] ?? self["torch_dtype"])?.string.map { name in
            name.hasPrefix("torch.") ? String(name.dropFirst(6)) : name
        }
    }

    /// Standard deviation of new weights.
    package func initializerRange() throws -> Double {
        try number("initializer_range", default: 0.02)
    }

    static func ids(_ value: JSON?) -> [Int32] {
        guard let value else { return [] }
        let all = value.array ?? [value]
        return all.compactMap { $0.int.flatMap { Int32(exactly: $0) } }
    }

    /// Refuses what no family of this build can do.
    ///
    /// - Throws: `KeelError` (badData) that names it.
    func refuseUnsupported() throws {
        if let quantization = self["quantization_config"] {
            let method = quantization["quant_method"]?.string ?? "of unknown kind"
            throw unsupported(
                "quantization_config", "quantised weights (\(method))",
                known: "f32, bf16 and f16 are")
        }
        for key in ["num_local_experts", "num_experts", "n_routed_experts"]
        where (self[key]?.int ?? 0) > 0 {
            throw unsupported(key, "a mixture of experts")
        }
        for key in ["vision_config", "audio_config"] where self[key] != nil {
            throw unsupported(
                key, "a model with a \(key.prefix { $0 != "_" }) part",
                known: "text models are; use the folder of the text part alone")
        }
        for key in ["is_encoder_decoder", "add_cross_attention"] where self[key]?.bool == true {
            throw unsupported(key, "cross attention")
        }
        for name in architectures
        where !ModelConfig.classSuffixes.contains(where: { name.hasSuffix($0) }) {
            throw unsupported(
                "architectures", "\(name)",
                known: "causal language models and reward models (ForSequenceClassification) are")
        }
    }

    // MARK: Errors

    /// The error for a key that is needed.
    package func missing(_ key: String) -> KeelError {
        KeelError(
            "model", "config.json has no \"\(key)\"", at: path,
            fix: ModelConfig.getAgain, code: .badData)
    }

    /// The error for a value that cannot be.
    package func bad(_ key: String, _ what: String) -> KeelError {
        KeelError("model", what, at: "\(path), key \(key)", code: .badData)
    }

    /// The error for what this build cannot do.
    package func unsupported(_ key: String, _ what: String, known: String? = nil) -> KeelError {
        KeelError(
            "model", "\(what): not supported" + (known.map { "; \($0)" } ?? ""),
            at: "\(path), key \(key)",
            code: .badData)
    }
}
