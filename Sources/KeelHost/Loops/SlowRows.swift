import KeelBridge
import KeelCore

/// Names the rows that a reward spent far more time on than on others.
///
/// One pathological text can hold up a whole run; its id is what a user needs to find it.
final class SlowRows {
    private var toldAt: [String: Double] = [:]

    /// Told from this multiple of the median up.
    static let multiple = 10.0
    /// And from so many milliseconds up.
    static let least = 100.0
    /// Seconds between two lines about one reward.
    static let pause = 60.0

    /// A line for each reward that has something to tell.
    ///
    /// - Parameters:
    ///   - milliseconds: `[reward][row]`.
    ///   - now: seconds of a clock that never goes back.
    func lines(
        names: [String], reports: [RewardReport], milliseconds: [[Double]], now: Double
    ) -> [String] {
        zip(names, zip(reports, milliseconds)).compactMap { name, seen in
            let (report, times) = seen
            guard !times.isEmpty else { return nil }
            let median = times.sorted()[times.count / 2]
            let bound = max(SlowRows.least, median * SlowRows.multiple)
            let slow = report.slowest.filter { $0.milliseconds >= bound }
            guard !slow.isEmpty, now - (toldAt[name] ?? -.infinity) >= SlowRows.pause else {
                return nil
            }
            toldAt[name] = now
            let rows = slow.map { "row \($0.id) took \(SlowRows.text($0.milliseconds))" }
            return "reward \"\(name)\": \(rows.joined(separator: ", ")); "
                + "half of the rows take \(SlowRows.text(median)) or less"
        }
    }

    private static func text(_ milliseconds: Double) -> String { "\(milliseconds.text()) ms" }
}
