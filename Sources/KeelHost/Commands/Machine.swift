import Glibc
import KeelCore

/// What the machine offers.
package enum Machine {
    /// Processors in use, at least 1.
    package static var cores: Int { max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))) }

    /// Bytes of memory.
    package static var memory: Int {
        let (pages, size) = (Int(sysconf(Int32(_SC_PHYS_PAGES))), Int(sysconf(Int32(_SC_PAGESIZE))))
        return pages > 0 && size > 0 ? pages * size : Int.max
    }

    /// Bytes that this process may use, and who says so: the machine, or the control group it runs in.
    ///
    /// `KEEL_MEMORY_LIMIT`, in MiB, goes before both.
    package static var memoryLimit: (bytes: Int, name: String) {
        if let text = getenv("KEEL_MEMORY_LIMIT").map({ String(cString: $0) }),
            let limit = Int(text), limit > 0, limit < 1 << 40
        {
            return (limit << 20, "KEEL_MEMORY_LIMIT allows")
        }
        let own = memory
        guard let limit = groupLimit, limit < own else { return (own, "the machine has") }
        return (limit, "its control group allows")
    }

    /// The smallest `memory.max` from the process's control group up; nil without one.
    private static var groupLimit: Int? {
        var limits = [number("/sys/fs/cgroup/memory/memory.limit_in_bytes")]
        for line in ((try? Files.readText("/proc/self/cgroup")) ?? "").split(separator: "\n") {
            guard line.hasPrefix("0::") else { continue }
            var parts = line.dropFirst(3).split(separator: "/")
            while true {
                let folder = (["/sys/fs/cgroup"] + parts).joined(separator: "/")
                limits.append(number(folder + "/memory.max"))
                if parts.popLast() == nil { break }
            }
        }
        return limits.compactMap { $0 }.min()
    }

    private static func number(_ path: String) -> Int? {
        guard let text = try? Files.readText(path) else { return nil }
        return Int(text.split(whereSeparator: \.isWhitespace).first ?? "")
    }

    /// Bytes of memory that the process has now.
    package static var residentBytes: Int {
        let fields = ((try? Files.readText("/proc/self/statm")) ?? "").split(separator: " ")
        guard fields.count > 1, let pages = Int(fields[1]) else { return 0 }
        return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    }

    /// The most memory that the process has had.
    ///
    /// Of the status file: what `getrusage` gives begins with the peak of whoever started the process.
    package static var peakResidentBytes: Int {
        let lines = ((try? Files.readText("/proc/self/status")) ?? "").split(separator: "\n")
        let line = lines.first { $0.hasPrefix("VmHWM:") }
        let fields = line?.split(whereSeparator: \.isWhitespace) ?? []
        return fields.count > 1 ? (Int(fields[1]) ?? 0) * 1024 : 0
    }
}
