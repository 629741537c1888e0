/// Metrics of a step as sums that can be merged over micro-batches and ranks.
package struct MetricSums: Sendable, Equatable {
    package enum How: Int, Sendable {
        case mean = 0
        case sum = 1
        case min = 2
        case max = 3
    }

    package struct Entry: Sendable, Equatable {
        package var how: How
        package var sum = 0.0
        package var count = 0.0
        package var min = Double.infinity
        package var max = -Double.infinity

        package var value: Double {
            switch how {
            case .mean: count == 0 ? .nan : sum / count
            case .sum: sum
            case .min: count == 0 ? .nan : min
            case .max: count == 0 ? .nan : max
            }
        }
    }

    /// In the order in which the names were first met.
    package private(set) var names: [String] = []
    package private(set) var entries: [String: Entry] = [:]

    package init() {}

    /// Adds one number; NaN is left out.
    package mutating func add(_ name: String, _ value: Double, _ how: How = .mean) {
        if entries[name] == nil {
            names.append(name)
            entries[name] = Entry(how: how)
        }
        guard !value.isNaN else { return }
        entries[name]?.take(sum: value, count: 1, min: value, max: value)
    }

    package var isEmpty: Bool { names.isEmpty }

    package mutating func merge(_ other: MetricSums, prefix: String = "") {
        for name in other.names {
            guard let entry = other.entries[name] else { continue }
            let key = prefix + name
            if entries[key] == nil {
                names.append(key)
                entries[key] = Entry(how: entry.how)
            }
            entries[key]?.take(sum: entry.sum, count: entry.count, min: entry.min, max: entry.max)
        }
    }

    /// Name and value, in order; a metric that never got a number is NaN.
    package var values: [(name: String, value: Double)] {
        names.map { ($0, entries[$0]?.value ?? .nan) }
    }

    package subscript(name: String) -> Double? { entries[name]?.value }
}

extension MetricSums.Entry {
    fileprivate mutating func take(sum: Double, count: Double, min: Double, max: Double) {
        self.sum += sum
        self.count += count
        self.min = Swift.min(self.min, min)
        self.max = Swift.max(self.max, max)
    }
}
