import KeelPlugin

/// 1 for a response that contains the row's "answer", 0 for one that does not.
///
/// limit / length for one longer than `limit` bytes. A row that has no "answer" is not scored.
struct MyPlugin: Reward {
    static let name = "my_plugin"
    static let help = "Responses that contain the answer and are not too long."

    @Param("limit", 1...1_000_000, "Bytes that a response may have.")
    var limit = 200

    func score(_ sample: Sample) -> Double? {
        guard let answer = sample.field("/answer") else { return nil }  // does not apply
        guard sample.response.contains(answer) else { return 0 }
        return min(1, Double(limit) / Double(sample.responseBytes.count))
    }
}

/// What the host calls first.
@c(keel_plugin_v1) public func entry() -> Entry {
    plugin("org.example.my_plugin", "0.1.0", MyPlugin.self)
}
