import KeelCore

/// Gemma 2 and the text part of Gemma 3: norms around both parts of a block with weights 1 + w, scaled embeddings,
/// a window on most layers.
///
/// Gemma 2 caps scores and logits; Gemma 3 has a norm over every query and key head instead, and another rotary
/// base on layers with a window.
package enum Gemma: Family {
    package static let modelTypes = ["gemma2", "gemma3_text"]

    package static func architecture(of config: ModelConfig) throws -> Architecture {
        let isThird = try config.modelType() == "gemma3_text"
        var architecture = try Llama.architecture(
            of: config,
            Llama.Defaults(
                headSize: 256, activationKeys: ["hidden_activation", "hidden_act"],
                activation: "gelu_pytorch_tanh", isTied: true, theta: isThird ? 1e6 : 10_000))
        let hidden = architecture.hiddenSize
        let eps = try config.number("rms_norm_eps", default: 1e-6)
        func norm(_ name: String, _ size: Int) -> Norm { .rms(name, size, eps: eps, offset: 1) }
        let scale = try config.number("query_pre_attn_scalar", default: 256)
        guard scale > 0 else {
            throw config.bad("query_pre_attn_scalar", "\(scale) is not positive")
        }
        if try config.bool("use_bidirectional_attention", default: false) {
            throw config.unsupported("use_bidirectional_attention", "attention in both directions")
        }
        let window = try config.int("sliding_window", default: 4096)
        let types = try layerTypes(config, count: architecture.blocks.count, isThird: isThird)
        for i in architecture.blocks.indices {
            let layer = "model.layers.\(i)."
            var block = architecture.blocks[i]
            block.attentionNorm = norm(layer + "input_layernorm", hidden)
            block.attentionOutputNorm = norm(layer + "post_attention_layernorm", hidden)
            block.mlpNorm = norm(layer + "pre_feedforward_layernorm", hidden)
            block.mlpOutputNorm = norm(layer + "post_feedforward_layernorm", hidden)
            let size = block.attention.headSize
            block.attention.scale = Float(1 / scale.squareRoot())
            block.attention.softcap = try cap("attn_logit_softcapping", config, isThird: isThird)
            block.attention.window = types[i] == .sliding ? window : nil
            if isThird {
                block.attention.queryNorm = norm(layer + "self_attn.q_norm", size)
                block.attention.keyNorm = norm(layer + "self_attn.k_norm", size)
                block.attention.rope = try rope(config, types[i], headSize: size)
            }
            architecture.blocks[i] = block
        }
        architecture.finalNorm = norm("model.norm", hidden)
        architecture.embeddingScale = Float(Double(hidden).squareRoot())
        architecture.logitSoftcap = try cap("final_logit_softcapping", config, isThird: isThird)
        return architecture
    }

    /// Gemma 2 alternates, a window first; every sixth layer of Gemma 3 sees all.
    private static func layerTypes(
        _ config: ModelConfig, count: Int, isThird: Bool
    ) throws -> [ModelConfig.LayerType] {
        if let types = try config.layerTypes(count: count) { return types }
        let pattern = try config.int(
            "_sliding_window_pattern",
            default: config.int("sliding_window_pattern", default: isThird ? 6 : 2))
        return (1...count).map { $0 % pattern == 0 ? .full : .sliding }
    }

    /// Layers with a window turn by `rope_local_base_freq` and are never stretched.
    private static func rope(
        _ config: ModelConfig, _ type: ModelConfig.LayerType, headSize: Int
    ) throws -> Rope {
        guard type == .sliding else {
            return try config.rope(headSize: headSize, layerType: type.rawValue, theta: 1e6)
        }
        if config["rope_parameters"]?[type.rawValue] != nil {
            return try config.rope(headSize: headSize, layerType: type.rawValue)
        }
        let theta = try config.number("rope_local_base_freq", default: 10_000)
        return Rope(theta: theta, dimensions: headSize)
    }

    /// A cap that is null or 0 is none; a Gemma 2 config that leaves it out has transformers' 50 and 30.
    private static func cap(_ key: String, _ config: ModelConfig, isThird: Bool) throws -> Float? {
        let isAbsent = config.source[key] == nil
        let usual = isThird || !isAbsent ? 0.0 : key == "attn_logit_softcapping" ? 50 : 30
        let value = try config.number(key, default: usual)
        guard value >= 0 else { throw config.bad(key, "\(value) is negative") }
        return value == 0 ? nil : Float(value)
    }
}
