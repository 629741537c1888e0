import Glibc
import KeelPlugin

/// Excludes tokens less likely than `min_p` times the likeliest one (min-p sampling,
/// arXiv:2407.01082), then lets the host draw from what is left.
struct MyPlugin: TokenSampler {
    static let name = "my_plugin"
    static let help = "Leaves out tokens much less likely than the likeliest one."

    @Param("min_p", 1e-6...1, "Share of the highest probability.")
    var minP = 0.1

    func sample(_ logits: Logits) -> Int? {
        let least = logits[logits.argmax] + log(minP)
        for token in 0..<logits.count where logits[token] < least { logits[token] = -.infinity }
        return nil  // the host draws, with its own random numbers
    }
}

/// What the host calls first.
@c(keel_plugin_v1) public func entry() -> Entry {
    plugin("org.example.my_plugin", "0.1.0", MyPlugin.self)
}
