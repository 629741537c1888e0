import KeelCore

/// Qwen3: Llama with an RMS norm over every query and key head; upper layers may have a window.
package enum Qwen3: Family {
    package static let modelTypes = ["qwen3"]

    package static func architecture(of config: ModelConfig) throws -> Architecture {
        var architecture = try Llama.architecture(of: config, Llama.Defaults(headSize: 128))
        let eps = try config.number("rms_norm_eps", default: 1e-6)
        for i in architecture.blocks.indices {
            let size = architecture.blocks[i].attention.headSize
            let layer = "model.layers.\(i).self_attn."
            architecture.blocks[i].attention.queryNorm = .rms(layer + "q_norm", size, eps: eps)
            architecture.blocks[i].attention.keyNorm = .rms(layer + "k_norm", size, eps: eps)
        }
        try Qwen2.setWindows(of: &architecture, config)
        return architecture
    }
}
