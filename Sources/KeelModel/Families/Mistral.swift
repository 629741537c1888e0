import KeelCore

/// Mistral: Llama whose tokens see the last `sliding_window` tokens only, where the config says so.
package enum Mistral: Family {
    package static let modelTypes = ["mistral"]

    package static func architecture(of config: ModelConfig) throws -> Architecture {
        var architecture = try Llama.architecture(of: config)
        guard config["sliding_window"] != nil else { return architecture }
        let window = try config.int("sliding_window")
        for i in architecture.blocks.indices { architecture.blocks[i].attention.window = window }
        return architecture
    }
}
