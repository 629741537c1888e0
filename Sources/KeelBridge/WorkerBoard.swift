import KeelCore

/// What the workers of one reward have before them and have done: the state that their threads share.
struct WorkerBoard: Sendable {
    /// Work for one call.
    struct Work: Sendable {
        var piece: WorkerLadder.Piece
        var rows: [RewardRow]
        var context: CallContext
        /// Of the collection that it belongs to.
        var generation: Int
    }

    /// What a successful call left.
    struct Yield: Sendable {
        var scores: [Float]
        var milliseconds: [Double]
        var seconds: Double
        var metrics: [(name: String, how: MetricSums.How, value: Double)]
        var columns: [(name: String, column: Column)]
    }

    private struct Done: Sendable {
        var first: Int
        var rows: [Int]
        var metrics: [(name: String, how: MetricSums.How, value: Double)]
        var columns: [(name: String, column: Column)]
    }

    let title: String
    let component: Component
    private var path: String { component.path }
    let options: WorkerOptions
    let isCoupled: Bool
    /// Everything in one call, in order, when all is there.
    let isStateful: Bool

    private(set) var generation = 0
    private(set) var error: (any Error)?
    private(set) var report = RewardReport()
    private var rows: [RewardRow] = []
    private var context = CallContext()
    /// The rows of each group, of coupled rewards; else a unit is a row.
    private var groups: [[Int]] = []
    /// Rows that are in no group yet.
    private var ungrouped: [Int] = []
    private var isClosed = false
    /// The first unit that no worker has taken.
    private var cursor = 0
    private var ladder = WorkerLadder()
    private var inFlight = 0
    private var results: [RewardScore?] = []
    private var missing = 0
    private var done: [Done] = []
    private var secondsPerRow: Double?
    private var isAnyScored = false
    /// Guilty rows since one was scored.
    private var guilty = 0
    private var failedStarts = 0

    /// Rows per call before anything is known about their cost, and at most.
    private static let firstCall = 32
    private static let largestCall = 256
    /// Failures in a row that end a run.
    private static let patience = 3

    init(title: String, component: Component, options: WorkerOptions) {
        self.title = title
        self.component = component
        self.options = options
        isCoupled = component.flags.contains(.coupled)
        isStateful = component.hasCallback("save")
    }

    // MARK: - The loop's side

    mutating func submit(_ more: [RewardRow], context: CallContext) {
        let start = rows.count
        rows += more
        results += [RewardScore?](repeating: nil, count: more.count)
        missing += more.count
        self.context = context
        isClosed = false
        guard isCoupled else { return }
        ungrouped += Array(start..<rows.count)
        // A group that is known to be whole may be scored before the last row is there.
        guard !isStateful, let size = context.facts["num_generations"].flatMap(Int.init(exactly:)),
            size > 0
        else { return }
        for (_, members) in byGroup(ungrouped) where members.count == size {
            groups.append(members)
            ungrouped.removeAll(where: members.contains)
        }
    }

    private func byGroup(_ list: [Int]) -> [(Int32, [Int])] {
        var order: [Int32] = []
        var members: [Int32: [Int]] = [:]
        for row in list {
            if members[rows[row].group] == nil { order.append(rows[row].group) }
            members[rows[row].group, default: []].append(row)
        }
        return order.map { ($0, members[$0] ?? []) }
    }

    /// No more rows will come before the collection.
    mutating func close() {
        isClosed = true
        guard isCoupled else { return }
        groups += byGroup(ungrouped).map(\.1)
        ungrouped = []
    }

    /// Whether the collection is over: everything scored and nobody at work, or a failure.
    var isComplete: Bool { error != nil || (missing == 0 && inFlight == 0) }

    /// Ends a collection; the next one begins empty.
    mutating func collect() throws -> (
        scores: [RewardScore], metrics: MetricSums, columns: [String: Column]
    ) {
        defer { reset() }
        if let error { throw error }
        var metrics = MetricSums()
        let parts = done.sorted { $0.first < $1.first }
        for part in parts {
            for metric in part.metrics { metrics.add(metric.name, metric.value, metric.how) }
        }
        let scores = results.compactMap(\.self)
        precondition(
            scores.count == rows.count, "\(scores.count) scores for \(rows.count) rows of \(title)")
        for (row, score) in zip(rows, scores) where !score.isFailed {
            report.note(row.id, milliseconds: score.milliseconds)
        }
        let columns = RowColumns.join(
            parts.flatMap { part in part.columns.map { ($0.name, $0.column, part.rows) } },
            rows: rows.count)
        return (scores, metrics, columns)
    }

    private mutating func reset() {
        generation += 1
        error = nil
        rows = []
        groups = []
        ungrouped = []
        cursor = 0
        ladder = WorkerLadder()
        inFlight = 0
        results = []
        missing = 0
        done = []
        isAnyScored = false
        isClosed = false
    }

    mutating func takeReport() -> RewardReport {
        defer { report = RewardReport() }
        return report
    }

    /// Ends the collection with an error, unless it has one.
    mutating func abort(_ error: any Error) {
        if self.error == nil { self.error = error }
    }

    mutating func noteRestarts(_ count: Int) { report.restarts += count }

    /// A row whose question for the judge could not be had.
    mutating func noteSkipped() { report.skipped += 1 }

    // MARK: - The workers' side

    private var unitCount: Int { isCoupled ? groups.count : rows.count }

    private func rowNumbers(_ units: [Int]) -> [Int] {
        isCoupled ? units.flatMap { groups[$0] } : units
    }

    /// Units that wait and that no worker has tried yet.
    private var untried: Int { isStateful && !isClosed ? 0 : unitCount - cursor }

    var hasWork: Bool { error == nil && (untried > 0 || !ladder.isEmpty) }

    /// The next call.
    mutating func next() -> Work? {
        guard hasWork else { return nil }
        let piece: WorkerLadder.Piece
        if untried > 0 {
            let count = min(untried, callSize)
            piece = WorkerLadder.Piece(units: Array(cursor..<cursor + count))
            cursor += count
        } else {
            guard let next = ladder.next() else { return nil }
            piece = next
        }
        inFlight += 1
        return Work(
            piece: piece, rows: rowNumbers(piece.units).map { rows[$0] }, context: context,
            generation: generation)
    }

    /// Units of one call: few enough to keep all workers busy and far from the deadline.
    private var callSize: Int {
        if isStateful { return untried }
        var size = BoardSize.rows(secondsPerRow, options.timeout)
        if options.workers > 1 { size = min(size, max(1, untried / (2 * options.workers))) }
        if isCoupled, unitCount > 0 { size = max(1, size * unitCount / max(1, rows.count)) }
        return size
    }

    private enum BoardSize {
        /// Rows that take about an eighth of the deadline.
        static func rows(_ seconds: Double?, _ timeout: Double) -> Int {
            guard let seconds else { return WorkerBoard.firstCall }
            let fitting = timeout / 8 / max(seconds, 1e-6)
            return max(1, min(WorkerBoard.largestCall, Int(min(fitting, 1e6))))
        }
    }

    /// The call has succeeded.
    mutating func finish(_ work: Work, _ yield: Yield, note: (String) -> Void) {
        guard work.generation == generation else { return }
        inFlight -= 1
        failedStarts = 0
        let numbers = rowNumbers(work.piece.units)
        if !numbers.isEmpty {
            let each = yield.seconds / Double(numbers.count)
            secondsPerRow = secondsPerRow.map { max(each, ($0 + each) / 2) } ?? each
        }
        var good: [Int] = []
        for (at, row) in numbers.enumerated() {
            let value = yield.scores[at]
            if value.isInfinite {
                report.errors += 1
                convict(
                    [row], work,
                    WorkerFailure(
                        cause: .reported(.invalid, "gave \(value) to row \(rows[row].id)")),
                    note)
                continue
            }
            good.append(at)
            set(row, RewardScore(value: value, milliseconds: yield.milliseconds[at]))
        }
        if !good.isEmpty {
            isAnyScored = true
            guilty = 0
        }
        done.append(
            Done(
                first: numbers.min() ?? 0, rows: numbers, metrics: yield.metrics,
                columns: yield.columns))
        ladder.succeeded(work.piece)
    }

    private mutating func set(_ row: Int, _ score: RewardScore) {
        if results[row] == nil { missing -= 1 }
        results[row] = score
    }

    /// The call has failed.
    mutating func fail(_ work: Work, _ failure: WorkerFailure, note: (String) -> Void) {
        guard work.generation == generation else { return }
        inFlight -= 1
        guard failure.cause != .interrupted, error == nil else { return }
        if failure.isTimeout { report.timeouts += 1 } else { report.errors += 1 }
        if case .reported(.cancelled, _) = failure.cause, context.isCancelled() {
            return abort(explain(failure, work, rows: []))
        }
        let units = work.piece.units
        /// The unit that a row of the call belongs to.
        var owner: [Int] = []
        for unit in units {
            owner += [Int](repeating: unit, count: isCoupled ? groups[unit].count : 1)
        }
        let unwritten = failure.unwritten.filter { $0 < owner.count }.map { owner[$0] }
        let isAnyWritten = Set(failure.unwritten).count < owner.count
        let touched = failure.touched.flatMap { $0 < owner.count ? owner[$0] : nil }
        let suspect = isAnyWritten ? (unwritten.first ?? touched) : touched
        // What a plugin reports it would report again; but a search takes rows out of their order, which a state
        // would remember.
        let verdict = ladder.failed(
            work.piece, suspect: suspect, unwritten: Set(unwritten),
            mayRetry: !failure.isHarmless || isStateful)
        if let verdict { convict(isCoupled ? groups[verdict] : [verdict], work, failure, note) }
    }

    /// These rows get no score of their own.
    private mutating func convict(
        _ numbers: [Int], _ work: Work, _ failure: WorkerFailure, _ note: (String) -> Void
    ) {
        guilty += 1
        var constant = Float.nan
        switch options.onError {
        case .stop: return abort(explain(failure, work, rows: numbers))
        case .dropRow: break
        case .constant(let value): constant = Float(value)
        }
        if !isAnyScored, guilty >= WorkerBoard.patience, missing > numbers.count {
            var error = explain(failure, work, rows: numbers)
            error.what = "\(guilty) rows failed and none was scored; the last: \(error.what)"
            return abort(error)
        }
        let ids = numbers.map { rows[$0].id }
        let fate = constant.isNaN ? "dropped" : "given \(constant)"
        note("\(RowNames.place(of: ids)) \(fate): \(failure.words)")
        report.skipped += numbers.count
        for row in numbers {
            set(row, RewardScore(value: constant, milliseconds: 0, isFailed: true))
        }
    }

    /// No worker can be started, or its state cannot be had after the call, which then counts for nothing.
    mutating func failedStart(_ work: Work?, _ error: any Error) {
        failedStarts += 1
        report.errors += 1
        if let work, work.generation == generation {
            inFlight -= 1
            ladder.putBack(work.piece)
        }
        if failedStarts >= WorkerBoard.patience { abort(error) }
    }

    /// The error as a user reads it.
    private func explain(_ failure: WorkerFailure, _ work: Work, rows numbers: [Int]) -> KeelError {
        let ids = numbers.map { rows[$0].id }
        var place = "\(path), score, step \(work.context.step)"
        if !ids.isEmpty { place += ", \(RowNames.place(of: ids))" }
        let isOwnWords =
            if case .reported(_, let text) = failure.cause { text.hasPrefix("gave ") } else {
                false
            }
        let fix =
            isOwnWords
            ? "a score is a finite number, or NaN where the reward does not apply"
            : failure.fix(for: component)
        let what =
            switch failure.cause {
            case .reported: isOwnWords ? "\(title) \(failure.words)" : "\(title): \(failure.report)"
            default: "\(title): \(RowNames.place(of: ids)): \(failure.report)"
            }
        return KeelError("plugin", what, at: place, fix: fix, code: .failed)
    }
}
