import KeelPlugin

/// The rows in the order of the file, every epoch.
struct Sequential: DataSampler {
    static let name = "sequential"
    static let help = "Every row once per epoch, in the order of the file."

    func order(_ epoch: Epoch) -> [Int] { (0..<epoch.count).map { $0 % epoch.rows } }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? {
    plugin("keel.sequential", "1.0.0", Sequential.self)
}
