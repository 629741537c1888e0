import KeelCore
import OrderedCollections

/// The numbers that a run logged, by metric: `metrics.jsonl`, or the history of a `trainer_state.json`.
struct MetricTable {
    /// A metric's values, in the order they were logged.
    struct Column {
        /// Which logged objects have the metric.
        fileprivate(set) var lines: [Int] = []
        /// Not finite where `"nan"`, `"inf"` or `"-inf"` was logged.
        fileprivate(set) var values: [Double] = []
    }

    private(set) var columns: OrderedDictionary<String, Column> = [:]
    /// The step of each logged object.
    private(set) var steps: [Int] = []
    /// The phases of the run and the first step logged in each; empty for runs of one phase.
    private(set) var phases: [(name: String, step: Int)] = []
    /// The last line was not written to its end: a run that was killed, or one that is being written.
    private(set) var isTorn = false

    var names: [String] { Array(columns.keys) }
    var lastStep: Int? { steps.max() }

    /// Whether the last line has a metric.
    func endsWith(_ name: String) -> Bool {
        columns[name].map { $0.lines.last == steps.count - 1 } ?? false
    }

    /// Reads the lines of a `metrics.jsonl`.
    ///
    /// - Throws: `KeelError`: noInput for a missing file, badData with `file:line` for a line that is no object with a
    ///   `step`; a torn last line is passed over.
    init(lines path: String) throws {
        let bytes = try Files.read(path)
        var start = 0
        var number = 0
        while start < bytes.count {
            let end = bytes[start...].firstIndex(of: 0x0A) ?? bytes.count
            defer { start = end + 1 }
            number += 1
            let line = Array(bytes[start..<end])
            guard line.contains(where: { $0 > 0x20 }) else { continue }
            do {
                let value = try JSON.parse(line: line, place: "\(path):\(number)")
                guard let object = value.object, object["step"]?.int != nil else {
                    throw KeelError(
                        "report", "a line without a \"step\"", at: "\(path):\(number)",
                        fix: "give a file of objects like {\"step\": 1, \"loss\": 0.5}, one a line",
                        code: .badData)
                }
                add(object)
            } catch let error as KeelError {
                // What a crash leaves is at the end, without a line's end or before nothing else.
                guard end >= bytes.count - 1 else { throw error }
                isTorn = true
            }
        }
    }

    /// Reads the `log_history` of transformers' and Keel's `trainer_state.json`.
    ///
    /// - Throws: `KeelError` (noInput, badData).
    init(trainerState path: String) throws {
        let state = try JSON.parse(try Files.read(path), name: path)
        guard let history = state["log_history"]?.array else {
            throw KeelError(
                "report", "the file has no \"log_history\"", at: path,
                fix: "give a run's folder, its metrics.jsonl, or a trainer_state.json",
                code: .badData)
        }
        for entry in history {
            if let object = entry.object, object["step"]?.int != nil { add(object) }
        }
    }

    private mutating func add(_ object: JSONObject) {
        guard let step = object["step"]?.int else { return }
        let line = steps.count
        steps.append(step)
        for (name, value) in object where name != "step" {
            if name == "phase", let phase = value.string {
                if phases.last?.name != phase { phases.append((phase, step)) }
            } else if let number = MetricTable.number(value) {
                columns[name, default: Column()].lines.append(line)
                columns[name, default: Column()].values.append(number)
            }
        }
    }

    private static func number(_ value: JSON) -> Double? {
        switch value.string {
        case "nan", "NaN": .nan
        case "inf", "Infinity": .infinity
        case "-inf", "-Infinity": -.infinity
        default: value.double
        }
    }

    /// A metric over the steps, or over another metric that stands in the same lines.
    func points(_ name: String, over x: String = "step") -> [Chart.Point] {
        guard let column = columns[name] else { return [] }
        if x == "step" {
            return zip(column.lines, column.values).map {
                Chart.Point(x: Double(steps[$0]), y: $1)
            }
        }
        guard let other = columns[x] else { return [] }
        var at = 0
        var points: [Chart.Point] = []
        for (line, value) in zip(column.lines, column.values) {
            while at < other.lines.count, other.lines[at] < line { at += 1 }
            if at < other.lines.count, other.lines[at] == line, other.values[at].isFinite {
                points.append(Chart.Point(x: other.values[at], y: value))
            }
        }
        return points
    }

    /// The steps at which a metric was logged.
    func steps(of name: String) -> [Int] { (columns[name]?.lines ?? []).map { steps[$0] } }

    /// The last value of a metric that is a number.
    func last(_ name: String) -> Double? { columns[name]?.values.last { $0.isFinite } }
}
