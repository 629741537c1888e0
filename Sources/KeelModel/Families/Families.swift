import KeelCore

/// A model family: how a `config.json` describes a decoder.
package protocol Family: SendableMetatype {
    /// The `model_type` values it reads.
    static var modelTypes: [String] { get }

    /// The decoder that a config describes.
    ///
    /// - Throws: `KeelError` (badData) for missing or wrong keys and for what is not supported.
    static func architecture(of config: ModelConfig) throws -> Architecture
}

/// The families of this build.
package enum Families {
    /// One line for each family.
    package static let all: [any Family.Type] = [
        Llama.self, Mistral.self, Qwen2.self, Qwen3.self, Phi3.self, Gemma.self, GPT2.self,
        GPTNeoX.self,
    ]

    /// Every `model_type` that can be read.
    package static var modelTypes: [String] { all.flatMap { $0.modelTypes } }

    /// The decoder that a config describes.
    ///
    /// - Throws: `KeelError` (badData) for an unknown family, wrong keys, and what is not supported.
    package static func architecture(of config: ModelConfig) throws -> Architecture {
        let type = try config.modelType()
        try config.refuseUnsupported()
        guard let family = all.first(where: { $0.modelTypes.contains(type) }) else {
            let near = nearest(type, among: modelTypes).map { "; did you mean \"\($0)\"?" } ?? ""
            throw KeelError(
                "model", "unknown model family \"\(type)\"\(near)",
                at: "\(config.path), key model_type",
                fix: "use one of: \(modelTypes.joined(separator: ", "))", code: .badData)
        }
        var architecture = try family.architecture(of: config)
        if let reach = architecture.reach {
            architecture.contextLength = min(architecture.contextLength, reach)
        }
        guard config.isClassifier else { return architecture }
        let labels = try config.labelCount()
        guard labels == 1 else {
            throw config.unsupported(
                "num_labels", "a classifier of \(labels) labels",
                known: "reward models with one label are")
        }
        return architecture.with(.score)
    }
}
