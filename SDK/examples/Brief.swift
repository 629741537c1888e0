import KeelPlugin

/// Prefers responses of a wanted length: score = -|bytes - target| / target.
struct Brief: Reward {
    static let name = "brief"
    static let help = "Prefers responses of `target` bytes."
    @Param("target", 1...1_000_000, "Wanted bytes.") var target = 80

    func score(_ sample: Sample) -> Double? {
        -abs(Double(sample.responseBytes.count - target)) / Double(target)
    }
}
/// What the host calls first.
@c(keel_plugin_v1) public func entry() -> Entry { plugin("org.example.brief", "1.0.0", Brief.self) }
