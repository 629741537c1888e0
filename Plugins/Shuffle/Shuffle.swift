import KeelPlugin

/// A new random permutation of the rows for each epoch, a pure function of seed and epoch (Fisher-Yates).
struct Shuffle: DataSampler {
    static let name = "shuffle"
    static let help = "Every row once per epoch, in random order."

    func order(_ epoch: Epoch) -> [Int] {
        var order = Array(0..<epoch.rows)
        for last in order.indices.reversed().dropLast() {
            let other = epoch.random(UInt64(last)).multipliedFullWidth(by: UInt64(last) + 1).high
            order.swapAt(last, Int(other))
        }
        return (0..<epoch.count).map { order[$0 % order.count] }
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? { plugin("keel.shuffle", "1.0.0", Shuffle.self) }
