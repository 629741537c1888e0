import KeelCore
import KeelModel

/// The reference of a run, and what its weights are called in caches.
///
/// It stays as it is but for `become`: then it is another model, and what was made with it is another model's.
final class FrozenReference {
    let model: Model
    /// Where it was loaded from first.
    let folder: String
    /// Whether what it computes may be kept on disk.
    let isCached: Bool
    /// How often it has become another model.
    private(set) var version = 0
    private var hash: String?

    init(_ model: Model, folder: String, isCached: Bool) {
        self.model = model
        self.folder = folder
        self.isCached = isCached
    }

    /// Names its weights: the content of its folder, later that of its masters.
    ///
    /// - Throws: `KeelError` (io).
    func contentHash() throws -> String {
        if let hash { return hash }
        let loaded = model.directory == folder ? model.contentHash : nil
        let found =
            version > 0
            ? FrozenReference.hash(model)
            : try loaded ?? ModelDirectory(folder).contentHash(on: model.device)
        hash = found
        return found
    }

    private static func hash(_ model: Model) -> String {
        var hash = SHA256()
        for parameter in model.parameters {
            hash.update("\(parameter.name) \(parameter.master.fingerprint())\n")
        }
        return hash.hex()
    }

    /// Takes over the weights of a model of the same shapes.
    func become(_ policy: Model) {
        for (own, other) in zip(model.parameters, policy.parameters) { own.assign(other.master) }
        restore(version: version + 1)
    }

    /// Its weights are those of a checkpoint, after so many changes.
    func restore(version: Int) {
        self.version = version
        hash = nil
    }
}
