import Glibc
import KeelCore

/// Why a worker did not do what it was asked.
struct WorkerFailure: Error {
    enum Cause: Equatable {
        /// The plugin, or a function of the host, said so; the process is well.
        case reported(CallStatus, String)
        case exited(Int32)
        case killed(signal: Int32)
        /// Seconds that were allowed.
        case timedOut(Double)
        /// MiB held and allowed.
        case tooMuchMemory(Int, Int)
        case wroteOutside
        /// What came back cannot be read.
        case nonsense(String)
        /// The call was called off.
        case interrupted
    }

    var cause: Cause
    /// The last lines that the process wrote.
    var lastLines: [String] = []
    /// Rows of the call whose score was not written, and the row last asked for.
    var unwritten: [Int] = []
    var touched: Int?

    /// Whether the process is as good as before.
    var isHarmless: Bool {
        if case .reported = cause { true } else { false }
    }

    var isTimeout: Bool {
        if case .timedOut = cause { true } else { false }
    }

    /// `killed by signal 11 (segmentation fault)`.
    var words: String {
        switch cause {
        case .reported(_, let text): text
        case .exited(let status): "exited with status \(status)"
        case .killed(let signal):
            "killed by signal \(signal) (\(WorkerFailure.name(of: signal)))"
        case .timedOut(let seconds): "no answer within \(Parameter.text(seconds)) s"
        case .tooMuchMemory(let held, let allowed):
            "held \(held) MiB of memory, allowed are \(allowed) MiB"
        case .wroteOutside: "wrote outside of the memory for its results"
        case .nonsense(let what): "answered what cannot be read (\(what))"
        case .interrupted: "was called off"
        }
    }

    /// What the process did: `was killed by signal 11 (segmentation fault)`.
    var deed: String {
        switch cause {
        case .killed: "was " + words
        case .timedOut: "gave " + words
        default: words
        }
    }

    /// The lines that go below a sentence about the failure.
    var lastWords: String { lastLines.map { "\n  it wrote: \($0)" }.joined() }

    /// The words, and below them what the process wrote last.
    var report: String { words + lastWords }

    /// A change that may help, as a config knows it.
    func fix(for component: Component) -> String? {
        let isReward = component.kind == .reward
        let higher = isReward ? ", or \"on_error\": \"drop_row\" to go on without such rows" : ""
        let goOn =
            isReward ? "; \"on_error\": \"drop_row\" in its \"run\" goes on without such rows" : ""
        switch cause {
        case .reported(.missing, _): return CallFailure.missingFix
        case .reported, .interrupted, .nonsense: return nil
        case .timedOut: return "set \"timeout_s\" in its \"run\" higher\(higher)"
        case .tooMuchMemory: return "set \"max_rss_mb\" in its \"run\" higher\(higher)"
        case .exited, .killed, .wroteOutside:
            guard let native = component.native else {
                return "`keel plugin check \(component.path)` looks for the mistake\(goOn)"
            }
            return "see that the library declares it as: \(native.declaration)\(goOn)"
        }
    }

    private static func name(of signal: Int32) -> String {
        if signal == SIGKILL { return "killed, by the system for lack of memory or by a person" }
        guard let text = strsignal(signal) else { return "unknown" }
        return String(cString: text).lowercased()
    }
}
