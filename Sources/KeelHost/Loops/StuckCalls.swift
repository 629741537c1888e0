import KeelBridge

/// Which callbacks have not come back for how long, from one look to the next.
///
/// Time that the whole process stood still (a debugger, a suspended machine) does not count.
package struct StuckCalls {
    package enum Finding: Equatable {
        /// Worth a line in the log.
        case slow(ActiveCall, seconds: Double)
        /// It is given up.
        case stuck(ActiveCall, seconds: Double)
    }

    /// Seconds after which a callback is given up; nil = never.
    package let limit: Double?
    /// The same once the run has been asked to stop.
    package static let limitWhenStopping = 10.0
    /// The first warning comes after this share of the limit, or after half a minute without one.
    private static let warningShare = 0.1

    private var ages: [UInt64: (seconds: Double, warnAt: Double)] = [:]
    private var lastLook: Double?
    /// Between two looks not more than this counts.
    private let longestPause: Double

    /// - Parameter interval: seconds between two looks.
    package init(limit: Double?, interval: Double) {
        self.limit = limit
        longestPause = 4 * interval
    }

    /// What is to be said of the callbacks of this moment.
    package mutating func look(_ calls: [ActiveCall], now: Double, isStopping: Bool) -> [Finding] {
        let passed = lastLook.map { min(max(0, now - $0), longestPause) } ?? 0
        lastLook = now
        let before = ages
        ages = [:]
        let first = limit.map { max(1, $0 * StuckCalls.warningShare) } ?? 30
        let bound = isStopping ? min(limit ?? .infinity, StuckCalls.limitWhenStopping) : limit
        var findings: [Finding] = []
        for call in calls {
            var age = before[call.entry] ?? (0, first)
            if before[call.entry] != nil { age.seconds += passed }
            if let bound, age.seconds >= bound {
                findings.append(.stuck(call, seconds: age.seconds))
            } else if age.seconds >= age.warnAt {
                findings.append(.slow(call, seconds: age.seconds))
                age.warnAt *= 3
            }
            ages[call.entry] = age
        }
        return findings
    }
}
