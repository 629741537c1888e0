import KeelCore

/// GPT-NeoX and Pythia: layer norms, rotary positions on a part of each head, attention and feed-forward part side by
/// side, query-key-value interleaved by head.
package enum GPTNeoX: Family {
    package static let modelTypes = ["gpt_neox"]

    package static func architecture(of config: ModelConfig) throws -> Architecture {
        let hidden = try config.int("hidden_size")
        let heads = try config.int("num_attention_heads", in: 1...16_384)
        guard hidden % heads == 0 else {
            throw config.bad("hidden_size", "\(hidden) cannot be split over \(heads) heads")
        }
        let headSize = hidden / heads
        let inner = try config.int("intermediate_size")
        let eps = try config.number("layer_norm_eps", default: 1e-5)
        let name = try config.string("hidden_act", default: "gelu")
        guard let activation = MLP.Activation(name) else {
            throw config.unsupported("hidden_act", "activation \"\(name)\"")
        }
        let rope = try config.rope(headSize: headSize, partial: 0.25)
        let hasBias = try config.bool("attention_bias", default: true)
        let isParallel = try config.bool("use_parallel_residual", default: true)
        let blocks = try (0..<config.int("num_hidden_layers", in: 1...10_000)).map { i in
            let layer = "gpt_neox.layers.\(i)."
            func linear(_ name: String, _ input: Int, _ output: Int, bias: Bool = true) -> Linear {
                Linear(layer + name, input, output, bias: bias)
            }
            let attention = Attention(
                .interleaved(
                    linear("attention.query_key_value", hidden, 3 * hidden, bias: hasBias)),
                output: linear("attention.dense", hidden, hidden, bias: hasBias),
                heads: heads, kvHeads: heads, headSize: headSize, rope: rope)
            var block = Block(
                attentionNorm: .layer(layer + "input_layernorm", hidden, eps: eps),
                attention: attention,
                mlpNorm: .layer(layer + "post_attention_layernorm", hidden, eps: eps),
                mlp: MLP(
                    .plain(up: linear("mlp.dense_h_to_4h", hidden, inner)),
                    down: linear("mlp.dense_4h_to_h", inner, hidden), activation: activation))
            block.isParallel = isParallel
            return block
        }
        let vocabulary = try config.int("vocab_size")
        let isTied = try config.bool("tie_word_embeddings", default: false)
        var architecture = Architecture(
            family: "gpt_neox", vocabularySize: vocabulary, hiddenSize: hidden,
            contextLength: try config.int("max_position_embeddings", default: 2048),
            embedding: Weight("gpt_neox.embed_in.weight", [vocabulary, hidden]), blocks: blocks,
            finalNorm: .layer("gpt_neox.final_layer_norm", hidden, eps: eps),
            head: isTied ? nil : Weight(headName, [vocabulary, hidden]),
            optionalPrefix: "gpt_neox.",
            ignoredSuffixes: [
                ".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq",
            ])
        architecture.headName = headName
        return architecture
    }

    private static let headName = "embed_out.weight"
}
