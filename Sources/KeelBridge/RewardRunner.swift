import KeelCore

/// One completion to be scored.
package struct RewardRow: Sendable {
    /// The row's permanent id.
    package var id: UInt64
    package var prompt: [UInt8]
    package var response: [UInt8]
    /// Ids of the response.
    package var tokens: [Int32]
    /// Ids of the prompt.
    package var promptTokens: [Int32]
    /// The data set row.
    package var row: JSON
    /// Completions of one prompt share a group.
    package var group: Int32
    /// True when the response ended by itself.
    package var isFinished: Bool
    /// What the entry's reward model says of the row: the column `model_scores`; nil = no model.
    package var modelScore: Double?
    /// What the entry's judge answered: the text column `reply`; nil = absent.
    package var reply: [UInt8]?

    package init(
        id: UInt64, prompt: [UInt8], response: [UInt8], tokens: [Int32] = [],
        promptTokens: [Int32] = [],
        row: JSON = .object(JSONObject()), group: Int32 = 0, isFinished: Bool = true,
        modelScore: Double? = nil, reply: [UInt8]? = nil
    ) {
        self.id = id
        self.prompt = prompt
        self.response = response
        self.tokens = tokens
        self.promptTokens = promptTokens
        self.row = row
        self.group = group
        self.isFinished = isFinished
        self.modelScore = modelScore
        self.reply = reply
    }
}

/// What a reward says about one completion.
package struct RewardScore: Sendable, Equatable {
    /// NaN: the reward does not apply to this row.
    package var value: Float
    /// What scoring this row took, or its share of the batch.
    package var milliseconds: Double
    /// True when scoring the row failed and the policy goes on without it: `value` is NaN (the row
    /// is dropped) or the policy's constant.
    package var isFailed = false
}

/// Scores completions; the loop does not know where the plugin runs.
///
/// Rows are handed over as soon as they are there and collected together, so that scoring may
/// overlap with generation.
package protocol RewardRunner: AnyObject {
    /// What the run calls the reward.
    var name: String { get }
    var component: Component { get }
    /// The question for the judge about each row, nil = none; for components with the callback `ask`.
    ///
    /// - Throws: `KeelError` (failed) that names the plugin.
    func ask(_ rows: [RewardRow], context: CallContext) throws -> [[UInt8]?]
    /// Hands rows over; returns at once where the runner can.
    func submit(_ rows: [RewardRow], context: CallContext) throws
    /// The scores of everything submitted since the last collection, in that order.
    ///
    /// - Throws: `KeelError` (failed) that names the plugin and, where known, the row. Never a made-up score.
    func collect() throws -> [RewardScore]
    /// Columns that `score` gave for the rows of the last collection (`token_rewards`).
    var columns: [String: Column] { get }
    /// Metrics reported since the last time, prefixed by the reward's name.
    func takeMetrics() -> MetricSums
    /// What went wrong and what was slow since the last time.
    func takeReport() -> RewardReport
    func save() throws -> Instance.State?
    func load(_ state: Instance.State) throws
}

/// Runs a reward in this process, on the thread that collects.
package final class InProcessReward: RewardRunner {
    package let instance: Instance
    private var waiting: [RewardRow] = []
    private var context = CallContext()
    private var metrics = MetricSums()
    private var report = RewardReport()
    package private(set) var columns: [String: Column] = [:]
    /// Rows per call; nil = all at once.
    ///
    /// Coupled rewards always see whole groups.
    package var rowsPerCall: Int?

    package var name: String { instance.name }
    package var component: Component { instance.component }

    package init(
        _ component: Component, catalog: PluginCatalog, parameters: ParameterValues,
        name: String? = nil,
        seed: UInt64 = 0, context: CallContext = CallContext()
    ) throws {
        precondition(component.kind == .reward, "\(component.title) is no reward")
        instance = try Instance(
            component, catalog: catalog, parameters: parameters, name: name, seed: seed,
            context: context)
    }

    package func ask(_ rows: [RewardRow], context: CallContext) throws -> [[UInt8]?] {
        try ask(ColumnBatch(rewarding: rows), context: context)
    }

    /// The questions of a batch, as the plugin wrote them.
    package func ask(_ batch: ColumnBatch, context: CallContext) throws -> [[UInt8]?] {
        guard batch.rows > 0, let ask = instance.raw.ask else {
            return [[UInt8]?](repeating: nil, count: batch.rows)
        }
        let call = Call(instance, .ask, batch: batch, context: context)
        call.asked = [[UInt8]?](repeating: nil, count: batch.rows)
        let status = ask(instance.own, call.pointer, batch.rows)
        try finish(call, status)
        return call.asked
    }

    package func submit(_ rows: [RewardRow], context: CallContext) throws {
        waiting += rows
        self.context = context
    }

    package func collect() throws -> [RewardScore] {
        let rows = waiting
        waiting = []
        columns = [:]
        guard let size = rowsPerCall, !component.flags.contains(.coupled) else {
            return try score(rows)
        }
        var scores: [RewardScore] = []
        var parts: [(name: String, column: Column, rows: [Int])] = []
        for start in stride(from: 0, to: rows.count, by: max(1, size)) {
            let range = start..<min(rows.count, start + max(1, size))
            columns = [:]
            scores += try score(Array(rows[range]))
            parts += columns.map { ($0.key, $0.value, Array(range)) }
        }
        columns = RowColumns.join(parts, rows: rows.count)
        return scores
    }

    package func takeMetrics() -> MetricSums {
        defer { metrics = MetricSums() }
        return metrics
    }

    package func takeReport() -> RewardReport {
        defer { report = RewardReport() }
        return report
    }

    package func save() throws -> Instance.State? { try instance.save(context: context) }
    package func load(_ state: Instance.State) throws { try instance.load(state) }

    private func score(_ rows: [RewardRow]) throws -> [RewardScore] {
        let (values, seconds) = try score(ColumnBatch(rewarding: rows))
        for (row, value) in zip(rows, values) where value.isInfinite {
            throw KeelError(
                "plugin", "\(instance.title) gave \(value) to row \(row.id)", at: component.path,
                fix: "a score is a finite number, or NaN where the reward does not apply",
                code: .failed)
        }
        let each = rows.isEmpty ? 0 : seconds * 1000 / Double(rows.count)
        for row in rows { report.note(row.id, milliseconds: each) }
        return values.map { RewardScore(value: $0, milliseconds: each) }
    }

    /// The raw scores of a batch, as the plugin wrote them, and the seconds it took.
    package func score(
        _ batch: ColumnBatch, context override: CallContext? = nil
    ) throws -> (values: [Float], seconds: Double) {
        guard batch.rows > 0 else { return ([], 0) }
        let call = Call(instance, .score, batch: batch, context: override ?? context)
        var values = [Float](repeating: .nan, count: batch.rows)
        guard let score = instance.raw.score else { return (values, 0) }
        let start = Clock.now()
        let status = values.withUnsafeMutableBufferPointer {
            score(instance.own, call.pointer, batch.rows, $0.baseAddress)
        }
        let seconds = Clock.now() - start
        try finish(call, status)
        for column in call.given { columns[column] = call.batch.columns[column] }
        return (values, seconds)
    }

    /// Ends a callback on rows: its error names them, its metrics are kept.
    private func finish(_ call: Call, _ status: Int32) throws {
        do {
            try call.finish(status)
        } catch var error as KeelError where !call.batch.rowIDs.isEmpty {
            error.at =
                "\(error.at ?? component.path), \(RowNames.place(of: call.batch.rowIDs))"
            throw error
        }
        if !call.metrics.isEmpty { metrics.merge(call.metrics, prefix: name + "/") }
    }
}

extension ColumnBatch {
    /// The batch that a reward sees: texts, the data set rows, ids and their mask.
    package init(rewarding rows: [RewardRow]) {
        self.init(rows: rows.count)
        text = ["prompt": rows.map { $0.prompt }, "response": rows.map { $0.response }]
        rowJSON = rows.map(\.row)
        rowIDs = rows.map(\.id)
        tokens = rows.map { $0.promptTokens + $0.tokens }
        promptLengths = rows.map(\.promptTokens.count)
        columns["group"] = Column(ints: rows.map(\.group))
        columns["length"] = Column(ints: rows.map { Int32($0.tokens.count) })
        columns["finished"] = Column(rows.map { $0.isFinished ? 1 : 0 })
        if rows.contains(where: { $0.modelScore != nil }) {
            columns["model_scores"] = Column(rows.map { $0.modelScore ?? .nan })
        }
        if rows.contains(where: { $0.reply != nil }) { text["reply"] = rows.map(\.reply) }
        let width = rows.map(\.tokens.count).max() ?? 0
        guard width > 0 else { return }
        var ids = [Int32](repeating: 0, count: rows.count * width)
        var mask = [Double](repeating: 0, count: rows.count * width)
        for (row, item) in rows.enumerated() {
            for (at, token) in item.tokens.enumerated() {
                ids[row * width + at] = token
                mask[row * width + at] = 1
            }
        }
        columns["tokens"] = Column(shape: [rows.count, width], ints: ids)
        columns["mask"] = Column(shape: [rows.count, width], mask)
    }
}

/// What errors call rows.
enum RowNames {
    /// `row 3`, `rows 3, 4, 5`: each once, the first few.
    static func place(of ids: [UInt64]) -> String {
        var seen: [UInt64] = []
        for id in ids where !seen.contains(id) && seen.count < 9 { seen.append(id) }
        let names = seen.prefix(8).map { "\($0)" } + (seen.count > 8 ? ["..."] : [])
        return (names.count == 1 ? "row " : "rows ") + names.joined(separator: ", ")
    }
}
