/// What happened to a reward's rows beside their scores.
package struct RewardReport: Sendable, Equatable {
    /// A row and what scoring it took.
    package struct Slow: Sendable, Equatable {
        package var id: UInt64
        package var milliseconds: Double

        package init(id: UInt64, milliseconds: Double) {
            self.id = id
            self.milliseconds = milliseconds
        }
    }

    /// Calls that failed, deadlines apart: crashes, errors that the plugin reported, broken guards.
    package var errors = 0
    /// Calls that were killed at their deadline.
    package var timeouts = 0
    /// Rows that got no score of their own: dropped, or given the policy's constant.
    package var skipped = 0
    /// Workers that were started again after a failure.
    package var restarts = 0
    /// The slowest rows, the slowest first.
    package private(set) var slowest: [Slow] = []

    /// How many slow rows are kept.
    package static let kept = 5

    package init() {}

    /// Notes what a row took.
    package mutating func note(_ id: UInt64, milliseconds: Double) {
        if slowest.count == RewardReport.kept {
            guard let last = slowest.last, milliseconds > last.milliseconds else { return }
            slowest.removeLast()
        }
        let at = slowest.firstIndex { $0.milliseconds < milliseconds } ?? slowest.count
        slowest.insert(Slow(id: id, milliseconds: milliseconds), at: at)
    }

    /// Adds what another part of the same reward has seen.
    package mutating func merge(_ other: RewardReport) {
        errors += other.errors
        timeouts += other.timeouts
        skipped += other.skipped
        restarts += other.restarts
        for row in other.slowest { note(row.id, milliseconds: row.milliseconds) }
    }
}
