import KeelCore

/// Qwen2 and 2.5: Llama with biases on queries, keys and values; upper layers may have a window.
package enum Qwen2: Family {
    package static let modelTypes = ["qwen2"]

    package static func architecture(of config: ModelConfig) throws -> Architecture {
        var architecture = try Llama.architecture(of: config)
        for i in architecture.blocks.indices {
            let attention = architecture.blocks[i].attention
            guard case .separate(let query, let key, let value) = attention.projection else {
                preconditionFailure("Llama's projections are separate")
            }
            architecture.blocks[i].attention.projection = .separate(
                query: query.withBias(), key: key.withBias(), value: value.withBias())
        }
        try setWindows(of: &architecture, config)
        return architecture
    }

    /// With `use_sliding_window`, the layers from `max_window_layers` up, or those that `layer_types` names.
    static func setWindows(of architecture: inout Architecture, _ config: ModelConfig) throws {
        guard try config.bool("use_sliding_window", default: false),
            config["sliding_window"] != nil
        else { return }
        let window = try config.int("sliding_window")
        let first = try config.int("max_window_layers", default: 28, in: 0...(1 << 24))
        let types = try config.layerTypes(count: architecture.blocks.count)
        for i in architecture.blocks.indices
        where types.map({ $0[i] == .sliding }) ?? (i >= first) {
            architecture.blocks[i].attention.window = window
        }
    }
}
