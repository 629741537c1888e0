import KeelBridge

/// Figures about a list of scores; NaN is counted apart.
struct Distribution {
    let facts: [(String, Double)]

    init(_ values: [Double]) {
        let sorted = values.filter { !$0.isNaN }.sorted()
        let mean = sorted.isEmpty ? .nan : sorted.reduce(0, +) / Double(sorted.count)
        let squares = sorted.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        facts = [
            ("scored", Double(sorted.count)), ("nan", Double(values.count - sorted.count)),
            ("mean", mean),
            ("std", sorted.count < 2 ? 0 : (squares / Double(sorted.count - 1)).squareRoot()),
            ("min", sorted.first ?? .nan), ("p5", Distribution.quantile(sorted, 0.05)),
            ("p50", Distribution.quantile(sorted, 0.5)),
            ("p95", Distribution.quantile(sorted, 0.95)),
            ("max", sorted.last ?? .nan),
        ]
    }

    /// The value at a share of a sorted list, between its neighbours.
    static func quantile(_ sorted: [Double], _ share: Double) -> Double {
        guard let last = sorted.last else { return .nan }
        let place = share * Double(sorted.count - 1)
        let low = Int(place)
        guard low + 1 < sorted.count else { return last }
        return sorted[low] + (place - Double(low)) * (sorted[low + 1] - sorted[low])
    }

    /// Ten bars over the range of the values; none when there is no range.
    static func histogram(_ values: [Double]) -> [String] {
        let numbers = values.filter(\.isFinite)
        guard let low = numbers.min(), let high = numbers.max(), low < high else { return [] }
        var counts = [Int](repeating: 0, count: 10)
        for value in numbers { counts[min(9, Int((value - low) / (high - low) * 10))] += 1 }
        let most = counts.max() ?? 1
        return PluginReport.table(
            counts.enumerated().map { index, count in
                [
                    Parameter.brief(low + (high - low) * Double(index) / 10), "\(count)",
                    String(repeating: "#", count: (40 * count + most - 1) / max(1, most)),
                ]
            })
    }
}

extension Parameter {
    /// Four significant figures.
    static func brief(_ value: Double) -> String {
        value.isFinite ? value.text(digits: 4) : value.description
    }
}
