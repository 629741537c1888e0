import Glibc
import KeelPlugin

/// Draws rows in proportion to a column, with replacement: A-LoL's order.
///
/// Baheti et al. 2024, arXiv:2305.14718, section 2:
///
///     p_i = w_i^power / Σ w_j^power,   w = max(column, 0)
///
/// By default w is the advantage, else the reward of the rows. A loss that is weighted by the advantage as well weighs
/// rows by its square in expectation, as in the authors' code. `sampling` random draws the rows of w > 0 alike.
/// With `feedback_column` a row's w follows what the steps that used it found out.
struct Priority: DataSampler, Learning, Stateful {
    static let name = "priority"
    static let help = "Draws rows in proportion to advantages, rewards or another column."

    enum Sampling: String, CaseIterable { case priority, random }

    @Param("column", "The weights of the rows; auto: advantages where there are any, else rewards.")
    var column = "auto"

    @Param("sampling", "priority: in proportion; random: rows of positive weight alike.")
    var sampling = Sampling.priority

    @Param("power", 0.0..., "Exponent of the weights: 0 is random, above 1 sharper.")
    var power = 1.0

    @Param("feedback_column", "After a step, the column that moves its rows' weights; empty: none.")
    var feedbackColumn = ""

    @Param("feedback_rate", 0.0...1.0, "Share of the new value in a row's weight.")
    var feedbackRate = 1.0

    /// Weights that steps have moved, by row; NaN = as the data has it.
    private var moved: [Double] = []

    init() {}

    func setup(_ call: Call) throws {
        if column == "auto" {
            ["advantages?", "rewards?"].forEach(call.need)
        } else {
            call.need(column)
        }
        if !feedbackColumn.isEmpty { call.need(feedbackColumn) }
    }

    func order(_ epoch: Epoch) throws -> [Int] {
        let weights = try weights(epoch)
        let drawn = Priorities(weights)
        guard !drawn.rows.isEmpty || epoch.count == 0 else {
            throw PluginError(
                .invalid,
                "none of the \(epoch.rows) rows has a weight above 0: look at the column "
                    + "\"\(column)\"")
        }
        epoch.call.metric("drawable_fraction", Double(drawn.rows.count) / Double(epoch.rows))
        return (0..<epoch.count).compactMap { drawn.draw(epoch.uniform(UInt64($0))) }
    }

    /// w of every row.
    private func weights(_ epoch: Epoch) throws -> [Double] {
        let source =
            column == "auto" ? (epoch.call.has("advantages") ? "advantages" : "rewards") : column
        guard epoch.call.has(source) else {
            throw PluginError(
                .missing,
                "there is no column \"\(source)\" to draw by: use data with rewards, or an objective "
                    + "that gives advantages")
        }
        let given = try epoch.column(source).values
        return try given.indices.map { row in
            let own = row < moved.count && !moved[row].isNaN ? moved[row] : given[row]
            guard !own.isNaN, own < .infinity else {
                throw PluginError(.invalid, "row \(row) has \(own) in \"\(source)\"")
            }
            guard own > 0 else { return 0 }
            let weight = sampling == .random ? 1 : Glibc.pow(own, power)
            guard weight < .infinity else {
                throw PluginError(
                    .invalid, "row \(row) has \(own) in \"\(source)\", too much for power \(power)")
            }
            return weight
        }
    }

    mutating func feedback(_ rows: [Int], _ columns: Columns) throws {
        guard !feedbackColumn.isEmpty else { return }
        let column = try columns(feedbackColumn)
        guard column.values.count == rows.count else {
            throw PluginError(
                .invalid, "feedback_column \"\(feedbackColumn)\" has not one number per row")
        }
        if let last = rows.max(), last >= moved.count {
            moved += [Double](repeating: .nan, count: last + 1 - moved.count)
        }
        for (row, value) in zip(rows, column.values) where value.isFinite {
            let before = moved[row].isNaN ? value : moved[row]
            moved[row] = before + feedbackRate * (value - before)
        }
    }

    func save() throws -> [UInt8] {
        var writer = StateWriter()
        writer.write(moved)
        return writer.bytes
    }

    mutating func load(_ bytes: [UInt8], version: UInt32) throws {
        var reader = StateReader(bytes)
        moved = try reader.doubles()
        try reader.finish()
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? {
    plugin("keel.priority", "1.0.0", Priority.self)
}
