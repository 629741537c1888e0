import KeelCore
import OrderedCollections

/// Where a run's numbers go: `metrics.jsonl`, TensorBoard event files, the history of `trainer_state.json`.
package final class MetricLog {
    /// Every logged object since the start of the run, as `trainer_state.json` holds them.
    package private(set) var history: [JSON]
    private let lines: JSONLines
    private let events: EventFile

    /// - Parameters:
    ///   - directory: the run directory, which exists.
    ///   - keepUpTo: on resume, the checkpoint's step; later lines are cut off. Nil starts afresh.
    /// - Throws: `KeelError` (cannotCreate, io).
    package init(directory: String, keepUpTo step: Int? = nil) throws {
        lines = try JSONLines(Files.join(directory, "metrics.jsonl"), keepUpTo: step)
        history = lines.kept.map { .object($0) }
        events = try EventFile(directory: directory, resumedAt: step)
    }

    /// Logs one step's values; keys that begin with `eval_` are those of an evaluation.
    ///
    /// - Parameter phase: named in runs of several phases.
    /// - Throws: `KeelError` (io) when the disk is full or gone.
    package func log(
        step: Int, epoch: Double, phase: String? = nil, values: OrderedDictionary<String, Double>
    ) throws {
        var object: JSONObject = ["step": JSON(step), "epoch": .double(epoch)]
        if let phase { object.append("phase", .string(phase)) }
        for (key, value) in values where key != "step" && key != "epoch" {
            object.append(key, .double(value))
        }
        try lines.append(object)
        history.append(.object(object))
        var scalars = values.map { (MetricLog.tag($0.key), $0.value) }
        if values["epoch"] == nil { scalars.append(("train/epoch", epoch)) }
        try events.scalars(step: step, scalars)
    }

    /// Adds a text, such as the resolved config, to the event file.
    package func text(_ tag: String, _ text: String, step: Int = 0) throws {
        try events.text(step: step, tag: tag, text)
    }

    /// Waits until the disk has everything logged so far.
    package func sync() throws {
        try lines.sync()
        try events.sync()
    }

    package func close() throws {
        try lines.close()
        try events.close()
    }

    /// The whole of `trainer_state.json`: transformers refuses any further key.
    package func trainerState(step: Int, epoch: Double) -> JSON {
        ["global_step": JSON(step), "epoch": .double(epoch), "log_history": .array(history)]
    }

    /// `loss` -> `train/loss`, `eval_loss` -> `eval/loss`, as transformers names them.
    static func tag(_ key: String) -> String {
        key.hasPrefix("eval_") ? "eval/" + key.dropFirst("eval_".count) : "train/" + key
    }
}
