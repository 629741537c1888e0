import KeelPlugin

/// Begins with the first `start` of the rows and opens `growth` more of them with each epoch.
///
/// So a file sorted by difficulty becomes a curriculum. What is open is repeated until the epoch is full.
struct MyPlugin: DataSampler {
    static let name = "my_plugin"
    static let help = "Opens the file row by row, more of it with each epoch."

    @Param("start", 0.0...1, "Share of the rows of the first epoch.")
    var start = 0.5

    @Param("growth", 0.0...1, "Share that each epoch adds.")
    var growth = 0.25

    func order(_ epoch: Epoch) -> [Int] {
        let share = min(1, start + growth * Double(epoch.number))
        let open = max(1, Int(Double(epoch.rows) * share))
        return (0..<epoch.count).map { $0 % open }
    }
}

/// What the host calls first.
@c(keel_plugin_v1) public func entry() -> Entry {
    plugin("org.example.my_plugin", "0.1.0", MyPlugin.self)
}
