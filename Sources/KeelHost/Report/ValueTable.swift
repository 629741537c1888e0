import KeelCore
import KeelData

/// A small table of things compared and their numbers: CSV with a header, a JSON list of objects, or JSONL.
///
/// The first column names the rows. A column `NAME` may have its interval in `NAME_low` and `NAME_high`, or in JSON
/// as `NAME_interval_95: [LOW, HIGH]`. Rows of one name are the same thing measured again, such as with another seed.
struct ValueTable {
    /// Row names, in the order of the file.
    let labels: [String]
    /// Columns with numbers that are no ends of intervals.
    let names: [String]
    private let cells: [[String: DotPlot.Value]]

    /// - Throws: `KeelError` (noInput, badData).
    init(_ path: String) throws {
        let text = try Files.readText(path)
        let isJSON = path.hasSuffix(".json") || path.hasSuffix(".jsonl")
        let rows = try isJSON ? ValueTable.json(text, path) : ValueTable.csv(text, path)
        guard !rows.isEmpty else {
            throw KeelError(
                "report", "the table has no rows", at: path,
                fix: "give a line for each thing compared, its name first", code: .badData)
        }
        labels = rows.map(\.label)
        var names: [String] = []
        for row in rows {
            for (name, _) in row.numbers
            where !ValueTable.isEnd(name, rows) && !names.contains(name) {
                names.append(name)
            }
        }
        guard !names.isEmpty else {
            throw KeelError(
                "report", "the table has no column of numbers", at: path,
                fix: "give numbers in the columns after the first", code: .badData)
        }
        self.names = names
        cells = rows.map { row in
            let numbers = Dictionary(row.numbers, uniquingKeysWith: { $1 })
            var cells: [String: DotPlot.Value] = [:]
            for name in names {
                guard let value = numbers[name], value.isFinite else { continue }
                cells[name] = DotPlot.Value(
                    value: value, low: numbers[name + "_low"], high: numbers[name + "_high"])
            }
            return cells
        }
    }

    private typealias Row = (label: String, numbers: [(String, Double)])

    /// Whether a column holds the end of another's interval.
    private static func isEnd(_ name: String, _ rows: [Row]) -> Bool {
        for end in ["_low", "_high"] where name.hasSuffix(end) {
            let whole = String(name.dropLast(end.count))
            if rows.contains(where: { $0.numbers.contains { $0.0 == whole } }) { return true }
        }
        return false
    }

    /// The panel of one column: rows of one name become one, their mean with all values behind it.
    ///
    /// - Parameter band: the interval of several rows of one name.
    func plot(_ name: String, band: RunChart.Band) -> DotPlot {
        var plot = DotPlot(title: name)
        var order: [String] = []
        for label in labels where !order.contains(label) { order.append(label) }
        for (color, label) in order.enumerated() {
            let found = labels.indices.filter { labels[$0] == label }.compactMap { cells[$0][name] }
            var row = DotPlot.Row(label: label, color: color, value: found.first)
            if found.count > 1 {
                row.parts = found.map(\.value)
                let mean = Statistics.mean(row.parts)
                var spread = Statistics.deviation(row.parts)
                if band == .se { spread /= Double(found.count).squareRoot() }
                row.value = DotPlot.Value(value: mean, low: mean - spread, high: mean + spread)
                if band == .range {
                    row.value?.low = row.parts.min()
                    row.value?.high = row.parts.max()
                }
            }
            plot.rows.append(row)
        }
        return plot
    }

    /// Whether a name stands in several rows.
    var hasRepeats: Bool { Set(labels).count < labels.count }

    // MARK: - Reading

    private static func json(_ text: String, _ path: String) throws -> [Row] {
        var list: [JSON]
        if path.hasSuffix(".jsonl") {
            let reader = try JSONLReader(path)
            list = try (0..<reader.count).map(reader.json)
        } else {
            guard let array = try JSON.parse(text, name: path).array else {
                throw KeelError(
                    "report", "the table is no list", at: path,
                    fix: "give a list of objects, one for each row", code: .badData)
            }
            list = array
        }
        return try list.enumerated().map { index, value in
            guard let pairs = value.object?.pairs,
                let label = pairs.first(where: { $0.value.string != nil })?.value.string
            else {
                throw KeelError(
                    "report", "a row without a name", at: "\(path), row \(index + 1)",
                    fix: "give each row a text, such as \"method\": \"dpo\"", code: .badData)
            }
            var numbers: [(String, Double)] = []
            for pair in pairs {
                if let number = pair.value.double { numbers.append((pair.key, number)) }
                let end = "_interval_95"
                if pair.key.hasSuffix(end), let low = pair.value[0]?.double,
                    let high = pair.value[1]?.double
                {
                    let name = String(pair.key.dropLast(end.count))
                    numbers += [(name + "_low", low), (name + "_high", high)]
                }
            }
            return (label, numbers)
        }
    }

    private static func csv(_ text: String, _ path: String) throws -> [Row] {
        var lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
            .map { fields($0) }
        while let last = lines.last, last.allSatisfy(\.isEmpty) { lines.removeLast() }
        guard let header = lines.first, header.count > 1 else {
            throw KeelError(
                "report", "the table has no header of two columns or more", at: path,
                fix: "begin with a line like method,reward,reward_low,reward_high", code: .badData)
        }
        return try lines.enumerated().dropFirst().filter { !$1.allSatisfy(\.isEmpty) }.map {
            index, cells in
            guard cells.count == header.count else {
                throw KeelError(
                    "report", "\(cells.count) cells under a header of \(header.count)",
                    at: "\(path):\(index + 1)", fix: "give each line a cell for each column",
                    code: .badData)
            }
            let numbers = zip(header, cells).dropFirst().compactMap { name, cell in
                Double(cell).map { (name, $0) }
            }
            return (cells[0], numbers)
        }
    }

    /// The cells of a line; quotes hold commas, a doubled quote is one.
    private static func fields(_ line: Substring) -> [String] {
        var cells = [""]
        var isQuoted = false
        var before: Character = ","
        for character in line {
            if character == "\"" {
                if isQuoted {
                    isQuoted = false
                } else {
                    if before == "\"" { cells[cells.count - 1].append("\"") }
                    isQuoted = true
                }
            } else if character == ",", !isQuoted {
                cells.append("")
            } else {
                cells[cells.count - 1].append(character)
            }
            before = character
        }
        return cells.map { cell in
            var trimmed = Substring(cell)
            while trimmed.first?.isWhitespace ?? false { trimmed.removeFirst() }
            while trimmed.last?.isWhitespace ?? false { trimmed.removeLast() }
            return String(trimmed)
        }
    }
}
