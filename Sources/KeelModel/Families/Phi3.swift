import KeelCore

/// Phi-3: Llama with one matrix for query, key and value and one for gate and up.
package enum Phi3: Family {
    package static let modelTypes = ["phi3"]

    package static func architecture(of config: ModelConfig) throws -> Architecture {
        var architecture = try Llama.architecture(of: config)
        let hidden = architecture.hiddenSize
        let inner = try config.int("intermediate_size")
        let window = config["sliding_window"] == nil ? nil : try config.int("sliding_window")
        for i in architecture.blocks.indices {
            let layer = "model.layers.\(i)."
            let attention = architecture.blocks[i].attention
            architecture.blocks[i].attention.projection = .fused(
                Linear(
                    layer + "self_attn.qkv_proj", hidden,
                    (attention.heads + 2 * attention.kvHeads) * attention.headSize))
            architecture.blocks[i].attention.window = window
            architecture.blocks[i].mlp.kind = .fused(
                Linear(layer + "mlp.gate_up_proj", hidden, 2 * inner))
        }
        return architecture
    }
}
