import Glibc

/// Time as the operating system tells it.
///
/// Never part of what a run computes.
package enum Clock {
    /// Seconds since an arbitrary start, never going back.
    package static func now() -> Double { seconds(CLOCK_MONOTONIC) }

    /// Seconds since 1970.
    package static func wall() -> Double { seconds(CLOCK_REALTIME) }

    /// CPU seconds of this process, all threads.
    package static func cpu() -> Double { seconds(CLOCK_PROCESS_CPUTIME_ID) }

    private static func seconds(_ clock: clockid_t) -> Double {
        var time = timespec()
        clock_gettime(clock, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }

    /// Local time as strftime writes it.
    package static func text(_ format: String, at wall: Double = Clock.wall()) -> String {
        var seconds = time_t(wall)
        var parts = tm()
        localtime_r(&seconds, &parts)
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
            guard let base = buffer.baseAddress else { return "" }
            let count = strftime(base, buffer.count, format, &parts)
            return String(
                decoding: UnsafeRawBufferPointer(start: base, count: count), as: UTF8.self)
        }
    }
}
