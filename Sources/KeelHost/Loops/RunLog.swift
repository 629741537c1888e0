import KeelCore

/// How a run began and ended each time it was started, and what it warned of: `run_log.jsonl`, which nothing cuts back.
///
/// A process that was killed leaves a beginning without an end.
struct RunLog {
    static let file = "run_log.jsonl"

    enum Event: String {
        /// From the first step.
        case started
        /// From a checkpoint.
        case resumed
        case finished
        /// By a signal, after a checkpoint.
        case stopped
        /// By an error.
        case failed
        /// It went on, with a warning.
        case warned
    }

    private let output: OutputFile

    /// - Parameter isFresh: an earlier run's log is no part of this one.
    /// - Throws: `KeelError` (cannotCreate).
    init(directory: String, isFresh: Bool) throws {
        output = try OutputFile(
            path: Files.join(directory, RunLog.file), mode: isFresh ? .create : .append)
    }

    /// Adds a line.
    ///
    /// It is told at the end of a run, whatever that was: a full disk is no further error here.
    func add(_ event: Event, step: Int, _ text: String? = nil) {
        var line: JSONObject = ["step": JSON(step), "event": .string(event.rawValue)]
        if let text { line.append("text", .string(text)) }
        try? output.write(JSON.object(line).text() + "\n")
        try? output.flush()
    }

    /// Adds the warnings since the last time.
    func addWarnings(step: Int) {
        for text in Log.takeWarnings() { add(.warned, step: step, text) }
    }

    /// What a folder's log says, in order; lines that cannot be read are passed over.
    static func read(_ directory: String) -> [(event: Event, step: Int, text: String?)] {
        guard let bytes = try? Files.read(Files.join(directory, file)) else { return [] }
        return bytes.split(separator: 0x0A).compactMap { line in
            guard let value = try? JSON.parse(Array(line), name: file),
                let event = value["event"]?.string.flatMap(Event.init),
                let step = value["step"]?.int
            else { return nil }
            return (event, step, value["text"]?.string)
        }
    }
}
