import CPCRE2
import CUTF8Proc

/// The libraries that this module is linked with.
package enum TextLibraries {
    package static var pcre2Version: String { "\(PCRE2_MAJOR).\(PCRE2_MINOR)" }

    package static var utf8procVersion: String { String(cString: utf8proc_version()) }
}
