import KeelBridge
import KeelCore

/// Where a component's callbacks run.
package enum IsolationChoice: String, ConfigChoice {
    /// In a process of its own: what it does there, the run survives.
    case worker
    /// In the host's process, under the watchdog.
    case none
}

/// `rewards[].run`: how a reward is run and what its failures do.
package struct RewardRunConfig: ConfigSection {
    @Key("isolate", "worker: in processes of its own; none: in the host's, faster and unprotected.")
    package var isolate = IsolationChoice.worker

    @Key("workers", .within(1, 256), "Processes that score at the same time.") package var workers =
        1

    @Key(
        "timeout_s", .above(0), "Seconds that one call may take before its worker is killed.")
    package var timeoutSeconds = 60.0

    @Key(
        "max_rss_mb", .number(from: 16), "Memory that a worker may use, in MiB; null for no limit.")
    package var maxRSSMegabytes: Int? = nil

    @Key(
        "recycle_after", .number(from: 1), "Calls after which a worker is replaced; null for never."
    )
    package var recycleAfter: Int? = nil

    @Key(
        "on_error",
        "What a row does that fails again alone in a fresh worker: stop the run with a checkpoint, "
            + "leave the batch, or take the score `constant`.")
    package var onError = FailurePolicy.stop

    @Key("constant", "The score that on_error \"constant\" gives.") package var constant = 0.0

    package init() {}

    /// Keys that do nothing beside the others.
    func check(at path: String, _ reader: ConfigReader) {
        let standard = RewardRunConfig()
        if isolate == .none {
            let idle = [
                ("workers", workers != standard.workers),
                ("timeout_s", timeoutSeconds != standard.timeoutSeconds),
                ("max_rss_mb", maxRSSMegabytes != nil), ("recycle_after", recycleAfter != nil),
                ("on_error", onError != standard.onError),
            ]
            for (key, _) in idle.filter(\.1) {
                reader.reportIdle(
                    key, at: path, because: "\"isolate\": \"none\" runs without a worker")
            }
        }
        if constant != standard.constant, onError != .constant {
            reader.report(
                "\(reader.shown(path)).constant is set, but on_error is not \"constant\"",
                at: "\(path).constant", fix: "add \"on_error\": \"constant\", or remove it")
        }
    }
}

/// `order.run`: how the data sampler is run.
package struct OrderRunConfig: ConfigSection {
    @Key("isolate", "worker: in a process of its own; none: in the host's, unprotected.")
    package var isolate = IsolationChoice.worker

    @Key(
        "timeout_s", .above(0), "Seconds that one call may take before its worker is killed.")
    package var timeoutSeconds = 60.0

    @Key(
        "max_rss_mb", .number(from: 16),
        "Memory that the worker may use, in MiB; null for no limit.")
    package var maxRSSMegabytes: Int? = nil

    package init() {}

    /// Keys that do nothing beside the others.
    func check(at path: String, _ reader: ConfigReader) {
        guard isolate == .none else { return }
        let idle = [
            ("timeout_s", timeoutSeconds != OrderRunConfig().timeoutSeconds),
            ("max_rss_mb", maxRSSMegabytes != nil),
        ]
        for (key, _) in idle.filter(\.1) {
            reader.reportIdle(
                key, at: path, because: "\"isolate\": \"none\" runs without a worker")
        }
    }
}

extension ConfigReader {
    /// A key that has no effect beside another: what a user relies on must not be silently off.
    fileprivate func reportIdle(_ key: String, at path: String, because reason: String) {
        report(
            "\(shown(path)).\(key) has no effect: \(reason)", at: "\(path).\(key)",
            fix: "remove it, or remove \"isolate\": \"none\"")
    }
}

extension RewardRunConfig {
    /// The same for those who start the workers.
    package var options: WorkerOptions {
        let policy: WorkerOptions.Policy =
            switch onError {
            case .stop: .stop
            case .dropRow: .dropRow
            case .constant: .constant(constant)
            }
        return WorkerOptions(
            workers: workers, timeout: timeoutSeconds, maxRSSMegabytes: maxRSSMegabytes,
            recycleAfter: recycleAfter, onError: policy)
    }
}
