import KeelPlugin

/// A reward in Swift that reads past the end of an array.
struct Traps: Reward {
    static let name = "traps"
    static let help = "Takes the 100th word of every response."

    @Param("trigger", "Misbehaves on rows whose prompt holds this text.")
    var trigger = ""

    func score(_ sample: Sample) -> Double? {
        guard trigger.isEmpty || sample.prompt.contains(trigger) else {
            return Double(sample.responseBytes.count) / 100
        }
        let words = sample.response.split(separator: " ").prefix(99)
        return Double(words[99].count)
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? {
    plugin("org.example.zoo.traps", "1.0.0", Traps.self)
}
