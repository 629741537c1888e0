import KeelPlugin

/// Steps of rows that are alike in length, in random order: little is lost to the longest row of a step.
///
/// As transformers' `group_by_length`: the rows are shuffled and cut into large groups, each group is sorted by length and
/// cut into steps. Then the steps are shuffled too, so that length says nothing about when a row is met; the step with the
/// longest row comes first, so that a run that needs too much memory shows it at once. What does not fill a step
/// comes last.
struct LengthGrouped: DataSampler {
    static let name = "length_grouped"
    static let help = "Every row once per epoch, rows of similar length in the same step."

    @Param("batch_size", 0...1_000_000, "Rows that are to be alike; 0: those of an optimizer step.")
    var batchSize = 0

    @Param(
        "group_factor", 1...1_000_000,
        "Steps of a group that is sorted by length; fewer are more random.")
    var groupFactor = 50

    func setup(_ call: Call) throws { Lengths.needs.forEach(call.need) }

    func order(_ epoch: Epoch) throws -> [Int] {
        guard epoch.rows > 0 else { return [] }
        let lengths = try Lengths.of(epoch)
        let known = epoch.call.fact("rows_per_step")
        let size = batchSize > 0 ? batchSize : known >= 1 ? Int(known) : 8
        // Groups of at least four to an epoch, or there would be no chance in small data sets.
        let factor = max(1, min(groupFactor, epoch.rows / (size * 4)))

        let shuffled = epoch.shuffled(Array(0..<epoch.rows), from: 0)
        var rows: [Int] = []
        for start in stride(from: 0, to: shuffled.count, by: size * factor) {
            let group = shuffled[start..<min(start + size * factor, shuffled.count)]
            rows += group.sorted { (lengths[$0], $1) > (lengths[$1], $0) }
        }
        let full = rows.count / size
        var steps = epoch.shuffled(Array(0..<full), from: UInt64(rows.count))
        // The first row of a group is its longest.
        if let longest = steps.indices.max(by: {
            lengths[rows[steps[$0] * size]] < lengths[rows[steps[$1] * size]]
        }) {
            steps.swapAt(0, longest)
        }
        let order = steps.flatMap { rows[$0 * size..<($0 + 1) * size] } + rows[(full * size)...]
        return (0..<epoch.count).map { order[$0 % order.count] }
    }
}

extension Epoch {
    /// A random permutation, a pure function of seed, epoch and `first` (Fisher-Yates).
    func shuffled(_ items: [Int], from first: UInt64) -> [Int] {
        var items = items
        for last in items.indices.reversed().dropLast() {
            let bits = random(first + UInt64(last))
            items.swapAt(last, Int(bits.multipliedFullWidth(by: UInt64(last) + 1).high))
        }
        return items
    }
}

/// How long rows are: prompt and completions, whatever the kind of data.
enum Lengths {
    private static let columns = ["prompt_length", "length", "chosen.length", "rejected.length"]
    static let needs = columns.map { $0 + "?" }

    /// - Throws: `PluginError` (missing) in a run that shows no lengths.
    static func of(_ epoch: Epoch) throws -> [Double] {
        let known = columns.filter(epoch.call.has)
        guard !known.isEmpty else {
            throw PluginError(.missing, "the run shows no lengths of its rows")
        }
        var lengths = [Double](repeating: 0, count: epoch.rows)
        for name in known {
            let column = try epoch.column(name).values
            guard column.count == epoch.rows else { continue }
            for row in lengths.indices { lengths[row] += column[row] }
        }
        return lengths
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? {
    plugin("keel.length_grouped", "1.0.0", LengthGrouped.self)
}
