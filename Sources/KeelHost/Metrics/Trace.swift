import Glibc
import KeelCore

/// What a run did when: a file in the trace-event format that chrome://tracing and Perfetto show.
///
/// An array of JSON objects, one a line; it is readable however the run ends.
package final class Trace {
    private let output: OutputFile
    private let start = Clock.now()
    private var lanes: [String] = []
    private var isBroken = false

    /// - Throws: `KeelError` (cannotCreate).
    package init(_ path: String) throws {
        output = try OutputFile(path: path, mode: .create)
        try output.write("[\n")
    }

    /// Something that took time, on a lane of its own kind; seconds as `Clock.now` counts them.
    package func span(
        _ name: String, lane: String, from: Double, to: Double, _ facts: JSONObject = JSONObject()
    ) {
        write(
            name, "X", lane,
            ["ts": .double(microseconds(from)), "dur": .double(max(0, (to - from) * 1e6))], facts)
    }

    /// Measures a piece of work.
    package func measure<T>(_ name: String, lane: String, _ work: () throws -> T) rethrows -> T {
        let begin = Clock.now()
        defer { span(name, lane: lane, from: begin, to: Clock.now()) }
        return try work()
    }

    /// Something that happened at this moment.
    package func mark(_ name: String, lane: String, _ facts: JSONObject = JSONObject()) {
        write(name, "i", lane, ["ts": .double(microseconds(Clock.now())), "s": "t"], facts)
    }

    /// Numbers of this moment, drawn as a curve.
    package func counter(_ name: String, _ values: JSONObject) {
        write(name, "C", "counters", ["ts": .double(microseconds(Clock.now()))], values)
    }

    private func microseconds(_ seconds: Double) -> Double {
        ((seconds - start) * 1e6).rounded()
    }

    private func write(
        _ name: String, _ kind: String, _ lane: String, _ time: JSONObject, _ facts: JSONObject
    ) {
        guard !isBroken else { return }
        do {
            var event: JSONObject = [
                "name": .string(name), "ph": .string(kind), "pid": 1, "tid": try number(of: lane),
            ]
            for (key, value) in time { event.append(key, value) }
            if !facts.isEmpty { event.append("args", .object(facts)) }
            try output.write(JSON.object(event).text() + ",\n")
            try output.flush()
        } catch {
            isBroken = true
            Log.warning("the trace ends here: \(error)")
        }
    }

    /// The number that stands for a lane; a new one is introduced by its name.
    private func number(of lane: String) throws -> JSON {
        if let known = lanes.firstIndex(of: lane) { return JSON(known + 1) }
        lanes.append(lane)
        let event: JSON = [
            "name": "thread_name", "ph": "M", "pid": 1, "tid": JSON(lanes.count),
            "args": ["name": .string(lane)],
        ]
        try output.write(event.text() + ",\n")
        return JSON(lanes.count)
    }
}
