import KeelCore

/// Llama 2 and 3, SmolLM and what else is stored as Llama: RMS norm, rotary positions, grouped heads, SwiGLU.
///
/// Other families with the same names start from this architecture and change what differs.
package enum Llama: Family {
    package static let modelTypes = ["llama"]

    package static func architecture(of config: ModelConfig) throws -> Architecture {
        try architecture(of: config, Defaults())
    }

    /// What a family's config may leave out.
    struct Defaults {
        /// nil = hidden size over heads.
        var headSize: Int?
        /// The keys that may name the activation.
        var activationKeys = ["hidden_act"]
        var activation = "silu"
        var isTied = false
        var theta = 10_000.0
    }

    static func architecture(of config: ModelConfig, _ defaults: Defaults) throws -> Architecture {
        let hidden = try config.int("hidden_size")
        let sizes = try heads(of: config, hidden: hidden, headSize: defaults.headSize)
        let (heads, kvHeads, headSize) = (sizes.heads, sizes.kvHeads, sizes.headSize)
        let inner = try config.int("intermediate_size")
        let eps = try config.number("rms_norm_eps", default: 1e-6)
        let rope = try config.rope(headSize: headSize, theta: defaults.theta)
        let attentionBias = try config.bool("attention_bias", default: false)
        let mlpBias = try config.bool("mlp_bias", default: false)
        let activation = try self.activation(config, defaults)
        let blocks = try (0..<config.int("num_hidden_layers", in: 1...10_000)).map { i in
            let layer = "model.layers.\(i)."
            func linear(_ name: String, _ input: Int, _ output: Int, _ bias: Bool) -> Linear {
                Linear(layer + name, input, output, bias: bias)
            }
            let attention = Attention(
                .separate(
                    query: linear("self_attn.q_proj", hidden, heads * headSize, attentionBias),
                    key: linear("self_attn.k_proj", hidden, kvHeads * headSize, attentionBias),
                    value: linear("self_attn.v_proj", hidden, kvHeads * headSize, attentionBias)),
                output: linear("self_attn.o_proj", heads * headSize, hidden, attentionBias),
                heads: heads, kvHeads: kvHeads, headSize: headSize, rope: rope)
            let mlp = MLP(
                .gated(
                    gate: linear("mlp.gate_proj", hidden, inner, mlpBias),
                    up: linear("mlp.up_proj", hidden, inner, mlpBias)),
                down: linear("mlp.down_proj", inner, hidden, mlpBias), activation: activation)
            return Block(
                attentionNorm: .rms(layer + "input_layernorm", hidden, eps: eps),
                attention: attention,
                mlpNorm: .rms(layer + "post_attention_layernorm", hidden, eps: eps), mlp: mlp)
        }
        let vocabulary = try config.int("vocab_size")
        let isTied = try config.bool("tie_word_embeddings", default: defaults.isTied)
        var architecture = Architecture(
            family: try config.modelType(), vocabularySize: vocabulary, hiddenSize: hidden,
            contextLength: try config.int("max_position_embeddings", default: 2048),
            embedding: Weight("model.embed_tokens.weight", [vocabulary, hidden]), blocks: blocks,
            finalNorm: .rms("model.norm", hidden, eps: eps),
            head: isTied ? nil : Weight("lm_head.weight", [vocabulary, hidden]),
            optionalPrefix: "model.",
            ignoredSuffixes: [".rotary_emb.inv_freq"])
        architecture.paddingID = config.padID.flatMap {
            (0..<Int32(vocabulary)).contains($0) ? $0 : nil
        }
        return architecture
    }

    /// How the states are cut into heads.
    ///
    /// - Throws: `KeelError` (badData) for numbers that do not fit each other.
    private static func heads(
        of config: ModelConfig, hidden: Int, headSize fallback: Int?
    ) throws -> (heads: Int, kvHeads: Int, headSize: Int) {
        let heads = try config.int("num_attention_heads", in: 1...16_384)
        let kvHeads = try config.int("num_key_value_heads", default: heads, in: 1...16_384)
        guard heads % kvHeads == 0 else {
            throw config.bad(
                "num_key_value_heads", "\(heads) heads cannot share \(kvHeads) key heads")
        }
        guard config["head_dim"] != nil || fallback != nil || hidden % heads == 0 else {
            throw config.bad("hidden_size", "\(hidden) cannot be split over \(heads) heads")
        }
        let headSize = try config.int(
            "head_dim", default: fallback ?? hidden / heads, in: 1...16_384)
        guard headSize % 2 == 0 else {
            throw config.bad("head_dim", "a head of \(headSize) has no pairs to rotate")
        }
        return (heads, kvHeads, headSize)
    }

    private static func activation(
        _ config: ModelConfig, _ defaults: Defaults
    ) throws -> MLP.Activation {
        let key = defaults.activationKeys.first { config[$0] != nil } ?? "hidden_act"
        let name = try config.string(key, default: defaults.activation)
        guard let activation = MLP.Activation(name) else {
            throw config.unsupported(key, "activation \"\(name)\"")
        }
        return activation
    }
}
