import Glibc
import KeelBridge
import KeelCore

/// A thread that looks after the plugins of this process: who does not come back is named, and in the end given up.
///
/// Nothing can end a callback of the own process from outside. What can be done is to write a checkpoint of the
/// last whole step from here and to leave.
package final class Watchdog: Sendable {
    private let limit: Double?
    private let rescue = Guarded<@Sendable (KeelError) -> KeelError>({ $0 })
    private let end: @Sendable (KeelError) -> Void

    /// - Parameters:
    ///   - limit: seconds that a callback may take; nil = any.
    ///   - end: ends the process with an error.
    package init(limit: Double?, end: @escaping @Sendable (KeelError) -> Void) {
        self.limit = limit
        self.end = end
    }

    /// What can be saved before the process ends, on the watchdog's thread; gives the error to end with.
    func whenStuck(_ body: @escaping @Sendable (KeelError) -> KeelError) {
        rescue.withLock { $0 = body }
    }

    /// Starts to look, until the process ends.
    package func start() {
        let interval = min(0.25, (limit ?? 60) / 20)
        BackgroundThread.start { [self] in
            var calls = StuckCalls(limit: limit, interval: interval)
            while true {
                usleep(UInt32(interval * 1e6))
                let isStopping = Signals.stopRequest != nil
                for finding in calls.look(
                    ActiveCalls.list, now: Clock.now(), isStopping: isStopping)
                {
                    act(on: finding)
                }
            }
        }
    }

    private func act(on finding: StuckCalls.Finding) {
        switch finding {
        case .slow(let call, let seconds):
            Log.warning(
                "\(call.component) has been in `\(call.callback)` for \(Progress.duration(seconds))"
            )
        case .stuck(let call, let seconds):
            guard ActiveCalls.hold(call) else { return }
            let error = KeelError(
                "plugin",
                "\(call.component) has not come back from `\(call.callback)` for "
                    + Progress.duration(seconds), at: call.place,
                fix: Signals.stopRequest == nil
                    ? "look for an endless loop, or allow it more with train.watchdog_s" : nil,
                code: .failed)
            end(rescue.withLock { $0 }(error))
        }
    }
}
