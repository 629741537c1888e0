import Glibc

/// What the machine offers.
package enum Machine {
    /// Processors in use, at least 1.
    package static var cores: Int { max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))) }

    /// Bytes of memory.
    package static var memory: Int {
        let (pages, size) = (Int(sysconf(Int32(_SC_PHYS_PAGES))), Int(sysconf(Int32(_SC_PAGESIZE))))
        return pages > 0 && size > 0 ? pages * size : Int.max
    }
}
