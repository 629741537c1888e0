import KeelCore

/// The lines that one component writes to the run's log, so many and no more.
final class ComponentLog: Sendable {
    private let name: String
    private let budget = Guarded((window: 0.0, lines: 0))

    /// Lines that one component may log in ten seconds.
    private static let limit = 50

    init(name: String) {
        self.name = name
    }

    /// Writes a line under the component's name. [any thread]
    func write(level: Int, _ text: String) {
        let isAllowed = budget.withLock { budget in
            let now = Clock.now()
            if now - budget.window > 10 { budget = (now, 0) }
            budget.lines += 1
            return budget.lines <= ComponentLog.limit
        }
        guard isAllowed else { return }
        let line = "\(name): \(text)"
        switch level {
        case ...0: Log.debug(line)
        case 1: Log.info(line)
        default: Log.warning(line)
        }
    }
}
