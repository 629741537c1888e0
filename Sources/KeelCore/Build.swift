import CJSON
import Glibc

/// What this build of Keel is.
package enum Build {
    package static let version = "0.1.0"

    /// The machine it was compiled for, as plugins and reports name it.
    package static var machine: String {
        #if arch(x86_64)
            "x86_64-linux"
        #elseif arch(arm64)
            "aarch64-linux"
        #else
            "linux"
        #endif
    }

    package static var isRelease: Bool {
        #if DEBUG
            false
        #else
            true
        #endif
    }

    package static var swiftVersion: String {
        #if compiler(>=6.4)
            "6.4 or newer"
        #elseif compiler(>=6.3)
            "6.3"
        #else
            "6.2"
        #endif
    }

    package static var jsonCVersion: String { String(cString: json_c_version()) }

    /// `glibc 2.36`, as the C library calls itself.
    package static var libcVersion: String {
        var text = [CChar](repeating: 0, count: 64)
        let count = confstr(Int32(_CS_GNU_LIBC_VERSION), &text, text.count)
        guard count > 1 else { return "unknown" }
        return String(decoding: text.prefix(count - 1).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
