import KeelCore
import OrderedCollections

/// Numbers of a step, averaged until the next log line, in the order they were first seen.
///
/// What is counted (`reward_calls/<name>/errors` ...) is added up instead.
///
/// The sums are part of a checkpoint, so that a resumed run logs the same lines.
package struct StepMetrics: Sendable {
    private var sums: OrderedDictionary<String, (sum: Double, count: Double)> = [:]

    package init() {}

    package var isEmpty: Bool { sums.isEmpty }

    /// Adds one observation; NaN means that there was nothing to observe.
    package mutating func add(_ name: String, _ value: Double, weight: Double = 1) {
        guard !value.isNaN, weight > 0 else { return }
        let old = sums[name] ?? (0, 0)
        sums[name] = (old.sum + value * weight, old.count + weight)
    }

    package mutating func add(_ values: some Sequence<(String, Double)>) {
        for (name, value) in values { add(name, value) }
    }

    /// The means, and an empty start for the next line.
    package mutating func drain() -> OrderedDictionary<String, Double> {
        defer { sums = [:] }
        var values = sums.mapValues { $0.sum / $0.count }
        for (name, entry) in sums where StepMetrics.isCount(name) { values[name] = entry.sum }
        return values
    }

    private static func isCount(_ name: String) -> Bool {
        name.hasPrefix("reward_calls/") && !name.hasSuffix("_ms")
    }

    // MARK: State

    package var json: JSON {
        .object(
            JSONObject(
                pairs: sums.map { ($0.key, [.double($0.value.sum), .double($0.value.count)]) }))
    }

    package init(json: JSON?) {
        for (name, value) in json?.object ?? JSONObject() {
            if let sum = value[0]?.double, let count = value[1]?.double {
                sums[name] = (sum, count)
            }
        }
    }
}
