import CDNNL

/// The libraries that this module is linked with.
package enum TensorLibraries {
    package static var oneDNNVersion: String {
        guard let version = dnnl_version()?.pointee else { return "unknown" }
        return "\(version.major).\(version.minor).\(version.patch)"
    }
}
