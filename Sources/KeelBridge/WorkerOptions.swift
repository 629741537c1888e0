/// How a component runs in worker processes: the `run` part of its entry in a config.
package struct WorkerOptions: Sendable, Equatable {
    /// What becomes of a row whose scoring fails, in a second worker too.
    package enum Policy: Sendable, Equatable {
        /// The run stops and names the row.
        case stop
        /// The row gets NaN and is left out; it is counted.
        case dropRow
        /// The row gets this number; it is counted.
        case constant(Double)
    }

    /// Processes that score at once.
    ///
    /// A component with state has one, so that the order of its calls is known.
    package var workers: Int
    /// Seconds that one call may take.
    package var timeout: Double
    /// Memory that one worker may hold; nil = half of the machine's.
    package var maxRSSMegabytes: Int?
    /// A worker is replaced by a fresh one after so many calls; nil = never.
    package var recycleAfter: Int?
    package var onError: Policy

    package init(
        workers: Int = 1, timeout: Double = 60, maxRSSMegabytes: Int? = nil,
        recycleAfter: Int? = nil, onError: Policy = .stop
    ) {
        self.workers = workers
        self.timeout = timeout
        self.maxRSSMegabytes = maxRSSMegabytes
        self.recycleAfter = recycleAfter
        self.onError = onError
    }
}
