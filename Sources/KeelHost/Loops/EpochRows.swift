import KeelBridge
import KeelCore
import KeelData

/// Which rows a step takes: its place in the epoch, in the order that the data sampler gave the epoch.
final class EpochRows {
    /// What a phase has behind it where these rows take the place of others: steps, epochs, and numbers of epochs.
    struct Lap {
        var step = 0
        var epochs = 0.0
        var epoch = 0
    }

    private let order: EpochOrder
    private let sampler: DataSamplerInstance?
    private let seed: UInt64
    private let columns: () -> [String: Column]
    private let row: (Int) -> JSON
    private let lap: Lap
    /// The order of the epoch in use, asked for once, and the sampler's state from before it was asked.
    private var current: (epoch: Int, order: [Int], before: Instance.State?)?

    /// - Parameters:
    ///   - count: rows of the data set.
    ///   - perStep: rows that a step takes, over all ranks.
    ///   - sampler: nil = every row once an epoch, in random order.
    ///   - columns: [count] columns that the sampler may read for its order; made when it is asked.
    ///   - row: a data set row, for a sampler that needs them.
    ///   - seed: of the order without a sampler.
    ///   - lap: where the first epoch of these rows begins.
    init(
        count: Int, perStep: Int, sampler: DataSamplerInstance?,
        columns: @escaping () -> [String: Column] = { [:] },
        row: @escaping (Int) -> JSON = { _ in .null }, seed: UInt64 = 0, lap: Lap = Lap()
    ) {
        self.seed = seed
        self.lap = lap
        order = EpochOrder(rowCount: count, rowsPerStep: perStep)
        self.sampler = sampler
        self.columns = columns
        self.row = row
    }

    var stepsPerEpoch: Int { order.stepsPerEpoch }
    /// Passes over the rows that are finished after `steps` steps.
    func progress(after steps: Int) -> Double {
        lap.epochs + order.progress(after: steps - lap.step)
    }
    /// Steps that make `epochs` passes over the rows, those before the lap included.
    func steps(epochs: Double) -> Int {
        lap.step + wholeSteps((epochs - lap.epochs) * Double(stepsPerEpoch))
    }
    /// Steps of the epoch of `step` before it.
    func stepInEpoch(_ step: Int) -> Int { (step - lap.step) % stepsPerEpoch }
    /// The number of the epoch of a step.
    private func epoch(of step: Int) -> Int { lap.epoch + order.epoch(of: step - lap.step) }

    /// The lap of other rows that take over from `step` on.
    func lap(at step: Int) -> Lap {
        Lap(
            step: step, epochs: progress(after: step),
            epoch: epoch(of: step) + (stepInEpoch(step) == 0 ? 0 : 1))
    }

    /// The numbers of the rows of a step.
    ///
    /// - Throws: what the sampler throws.
    func rows(of step: Int) throws -> [Int] {
        let epoch = epoch(of: step)
        let rows: [Int]
        if let current, current.epoch == epoch {
            rows = current.order
        } else {
            let before = hasFeedback ? nil : try sampler?.save()
            rows = try sampler.map { try order(of: epoch, by: $0) } ?? shuffled(epoch)
            current = (epoch, rows, before)
        }
        return order.positions(of: step - lap.step).map { rows[$0] }
    }

    private func order(of epoch: Int, by sampler: DataSamplerInstance) throws -> [Int] {
        let needsRows = sampler.needs.contains { $0 == "row" || $0 == "row?" }
        return try sampler.order(
            epoch: epoch, count: order.rowCount, columns: columns(),
            rows: needsRows ? (0..<order.rowCount).map(row) : [],
            context: CallContext(facts: ["rows_per_step": Double(order.rowsPerStep)]))
    }

    /// A permutation of the rows, a pure function of seed and epoch.
    private func shuffled(_ epoch: Int) -> [Int] {
        let stream = RandomStream(seed: seed, place: "order", UInt64(epoch))
        let keys = (0..<order.rowCount).map { stream.uniform(UInt64($0)) }
        return keys.indices.sorted { (keys[$0], $0) < (keys[$1], $1) }
    }

    // MARK: - Feedback

    /// Whether the sampler wants to know what a step made of its rows.
    var hasFeedback: Bool { sampler?.hasFeedback ?? false }

    /// Tells the sampler what a step found out.
    ///
    /// - Parameters:
    ///   - rows: numbers as the order has them, with repeats.
    ///   - batch: one row for each of them.
    func feedback(rows: [Int], batch: ColumnBatch, context: CallContext) throws {
        try sampler?.feedback(rows: rows, batch: batch, context: context)
    }

    /// What the sampler reported since the last time.
    func takeMetrics() -> MetricSums { sampler?.takeMetrics() ?? MetricSums() }

    // MARK: - State

    /// What a run that goes on with a step needs to see the same rows.
    struct Snapshot {
        var state: Instance.State?
        /// The rest of the epoch, where feedback has moved the state on since it was asked for.
        var order: (epoch: Int, rows: [Int])?

        var json: JSON {
            guard let order else { return state?.json ?? .null }
            var object: JSONObject = [
                "epoch": JSON(order.epoch), "rows": .array(order.rows.map { JSON($0) }),
            ]
            if let state { object["state"] = state.json }
            return .object(object)
        }
    }

    /// The sampler's state for a run that goes on with `nextStep`: without feedback it asks for its epoch's
    /// order again, with feedback the order goes along.
    func snapshot(nextStep: Int) throws -> Snapshot? {
        let isInside = current?.epoch == epoch(of: nextStep)
        if hasFeedback {
            let order = isInside ? current.map { ($0.epoch, $0.order) } : nil
            let state = try sampler?.save()
            return state == nil && order == nil ? nil : Snapshot(state: state, order: order)
        }
        let state = isInside ? current?.before : try sampler?.save()
        return state.map { Snapshot(state: $0) }
    }

    /// - Throws: `KeelError` (badData) for an order that is none of this data set.
    func restore(_ saved: JSON?) throws {
        if let epoch = saved?["epoch"]?.int, let list = saved?["rows"]?.array {
            let rows = list.compactMap(\.int).filter { (0..<order.rowCount).contains($0) }
            guard rows.count == list.count, rows.count == order.rowCount else {
                throw KeelError(
                    "checkpoint",
                    "the order of epoch \(epoch) does not fit the \(order.rowCount) rows",
                    at: CheckpointStore.stateFile, fix: "resume with the data of the run",
                    code: .badData)
            }
            current = (epoch, rows, nil)
        }
        if let state = Instance.State(json: saved?["state"] ?? saved) { try sampler?.load(state) }
    }
}

extension EpochRows.Lap {
    /// For a checkpoint; doubles keep every bit.
    var json: JSON {
        ["step": JSON(step), "epochs": .double(epochs), "epoch": JSON(epoch)]
    }

    /// What `json` wrote; nothing of it is the first lap.
    init(json: JSON?) {
        step = json?["step"]?.int ?? 0
        epochs = json?["epochs"]?.double ?? 0
        epoch = json?["epoch"]?.int ?? 0
    }
}
