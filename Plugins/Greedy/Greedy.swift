import KeelPlugin

/// Takes the likeliest token; the smallest id among equals.
struct Greedy: TokenSampler {
    static let name = "greedy"
    static let help = "Takes the likeliest token."

    func sample(_ logits: Logits) throws -> Int? {
        let token = logits.argmax
        guard logits[token] > -.infinity else {
            throw PluginError(.invalid, "row \(logits.row): no token is left to choose")
        }
        return token
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? { plugin("keel.greedy", "1.0.0", Greedy.self) }
