import KeelCore

/// GPT-2: layer norm, learned positions, fused query-key-value, weights stored `[in, out]`, tied head.
///
/// Files name their tensors `transformer.h.0...` or, the oldest ones, `h.0...`; `attn.bias` is a mask.
package enum GPT2: Family {
    package static let modelTypes = ["gpt2"]

    package static func architecture(of config: ModelConfig) throws -> Architecture {
        let hidden = try config.int("n_embd")
        let heads = try config.int("n_head", in: 1...16_384)
        let layers = try config.int("n_layer", in: 1...10_000)
        let context = try config.int("n_positions")
        let vocabulary = try config.int("vocab_size")
        guard hidden % heads == 0 else {
            throw config.bad("n_embd", "\(hidden) cannot be split over \(heads) heads")
        }
        let headSize = hidden / heads
        let inner = try config.int("n_inner", default: 4 * hidden)
        let eps = try config.number("layer_norm_epsilon", default: 1e-5)
        let name = try config.string("activation_function", default: "gelu_new")
        guard let activation = MLP.Activation(name) else {
            throw config.unsupported("activation_function", "activation \"\(name)\"")
        }
        let isScaled = try config.bool("scale_attn_weights", default: true)
        let isScaledByLayer = try config.bool("scale_attn_by_inverse_layer_idx", default: false)
        // Projections into the residual stream start smaller, by the number of them (Radford et al. 2019).
        let residual = 1 / (2 * Double(layers)).squareRoot()
        let blocks = (0..<layers).map { i in
            let layer = "transformer.h.\(i)."
            func linear(_ name: String, _ input: Int, _ output: Int, scale: Double = 1) -> Linear {
                Linear(layer + name, input, output, bias: true, layout: .inOut, scale: scale)
            }
            var attention = Attention(
                .fused(linear("attn.c_attn", hidden, 3 * hidden)),
                output: linear("attn.c_proj", hidden, hidden, scale: residual),
                heads: heads, kvHeads: heads, headSize: headSize)
            if !isScaled { attention.scale = 1 }
            if isScaledByLayer { attention.scale /= Float(i + 1) }
            return Block(
                attentionNorm: .layer(layer + "ln_1", hidden, eps: eps), attention: attention,
                mlpNorm: .layer(layer + "ln_2", hidden, eps: eps),
                mlp: MLP(
                    .plain(up: linear("mlp.c_fc", hidden, inner)),
                    down: linear("mlp.c_proj", inner, hidden, scale: residual),
                    activation: activation))
        }
        let isTied = try config.bool("tie_word_embeddings", default: true)
        return Architecture(
            family: "gpt2", vocabularySize: vocabulary, hiddenSize: hidden, contextLength: context,
            embedding: Weight("transformer.wte.weight", [vocabulary, hidden]),
            positions: Weight("transformer.wpe.weight", [context, hidden]), blocks: blocks,
            finalNorm: .layer("transformer.ln_f", hidden, eps: eps),
            head: isTied ? nil : Weight("lm_head.weight", [vocabulary, hidden]),
            optionalPrefix: "transformer.", ignoredSuffixes: [".attn.bias", ".attn.masked_bias"])
    }
}
