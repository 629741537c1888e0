import KeelCore
import KeelModel

/// Where `--sampler` comes from.
enum SamplerSource {
    /// The sampler of a name, or nil for the model's own distribution.
    ///
    /// - Throws: `KeelError` for unknown names and wrong parameters.
    static func make(_ name: String?, params: String?, pluginPaths: [String], seed: UInt64) throws
        -> (any TokenSampling)?
    {
        guard let name else { return nil }
        guard name == "greedy" else {
            throw KeelError("plugin", "no token sampler \"\(name)\"", code: .unavailable)
        }
        return ArgmaxSampling()
    }
}
