import Glibc
import KeelPlugin

/// Easy rows first: the share of the rows that may be met grows with time.
///
/// Bengio et al. 2009, "Curriculum Learning"; the pacing is Platanios et al. 2019, arXiv:1903.09848, equations 6 and 7. With c_0
/// the share at the start, T the `epochs` until all rows are there and t the epochs so far:
///
///     linear:  c(t) = c_0 + (1 - c_0) t / T          root:  c(t) = sqrt(c_0² + (1 - c_0²) t / T)
///
/// A place of the order takes a random row among the easiest c(t) that were not met yet; when all of them were, they
/// come again. So with T at most 1 every row is met once per epoch. `sorted` is the plain order. After T epochs the rows are
/// shuffled.
struct Curriculum: DataSampler {
    static let name = "curriculum"
    static let help = "Easy rows first: by length, a column or a field of the rows."

    enum Pacing: String, CaseIterable { case linear, root, sorted }

    @Param("by", "What makes a row hard: length, another column, or a JSON pointer (/difficulty).")
    var by = "length"

    @Param("descending", "Large numbers are easy.")
    var descending = false

    @Param("pacing", "How the share grows; sorted: exactly in order.")
    var pacing = Pacing.linear

    @Param("start", 0.0...1.0, "c_0: share of the rows that is there from the start.")
    var start = 0.1

    @Param("epochs", 0.0..., "T: epochs until all rows are there; shuffled from then on.")
    var epochs = 1.0

    private static let lengths = ["prompt_length", "length", "chosen.length", "rejected.length"]

    func setup(_ call: Call) throws {
        if by.hasPrefix("/") {
            call.need("row")
        } else if by == "length" {
            Curriculum.lengths.forEach { call.need($0 + "?") }
        } else {
            guard !by.isEmpty else {
                throw PluginError(.invalid, "by is empty: length, a column, or a JSON pointer")
            }
            call.need(by)
        }
    }

    func order(_ epoch: Epoch) throws -> [Int] {
        guard epoch.rows > 0 else { return [] }
        let rows = try ranked(epoch)
        if pacing == .sorted, Double(epoch.number) < epochs {
            return (0..<epoch.count).map { rows[$0 % rows.count] }
        }
        var waiting: [Int] = []  // there, and not met yet
        var known = 0  // rows that are there
        return (0..<epoch.count).map { place in
            let time = Double(epoch.number) + Double(place + 1) / Double(max(epoch.count, 1))
            // Rounding must not keep back a row whose time has come.
            let there = min(max(Int(share(time) * Double(rows.count) + 1e-6), 1), rows.count)
            while known < there {
                waiting.append(rows[known])
                known += 1
            }
            if waiting.isEmpty { waiting = Array(rows[..<known]) }
            let random = epoch.random(UInt64(place))
            let chosen = Int(random.multipliedFullWidth(by: UInt64(waiting.count)).high)
            waiting.swapAt(chosen, waiting.count - 1)
            return waiting.removeLast()
        }
    }

    /// c(t).
    private func share(_ time: Double) -> Double {
        guard epochs > 0, time < epochs else { return 1 }
        let part = time / epochs
        return pacing == .root
            ? (start * start + (1 - start * start) * part).squareRoot()
            : start + (1 - start) * part
    }

    /// All rows, easy ones first; equal ones as in the file.
    private func ranked(_ epoch: Epoch) throws -> [Int] {
        let keys = try difficulties(epoch)
        let sign = descending ? -1.0 : 1.0
        return (0..<epoch.rows).sorted { (sign * keys[$0], $0) < (sign * keys[$1], $1) }
    }

    private func difficulties(_ epoch: Epoch) throws -> [Double] {
        if by.hasPrefix("/") {
            return try (0..<epoch.rows).map { row in
                guard let text = epoch.field(by, row: row), let number = Double(text),
                    number.isFinite
                else {
                    throw PluginError(
                        .invalid, "row \(row) has no number at \(by), by which the rows are ordered"
                    )
                }
                return number
            }
        }
        let names = by == "length" ? Curriculum.lengths.filter(epoch.call.has) : [by]
        guard let first = names.first, epoch.call.has(first) else {
            throw PluginError(.missing, "the run shows no column \"\(by)\" of its rows")
        }
        var keys = [Double](repeating: 0, count: epoch.rows)
        for name in names {
            for (row, value) in try epoch.column(name).values.enumerated() where row < keys.count {
                guard !value.isNaN else {
                    throw PluginError(.invalid, "row \(row) has no number in \"\(by)\"")
                }
                keys[row] += value
            }
        }
        return keys
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? {
    plugin("keel.curriculum", "1.0.0", Curriculum.self)
}
