import KeelBridge
import KeelCore
import KeelData

/// Which rows a step takes: its place in the epoch, in the order that the data sampler gave the epoch.
final class EpochRows {
    private let order: EpochOrder
    private let sampler: DataSamplerInstance
    /// The order of the epoch in use, asked for once, and the sampler's state from before it was asked.
    private var current: (epoch: Int, order: [Int], before: Instance.State?)?

    /// - Parameters:
    ///   - count: rows of the data set.
    ///   - perStep: rows that a step takes, over all ranks.
    init(count: Int, perStep: Int, sampler: DataSamplerInstance) {
        order = EpochOrder(rowCount: count, rowsPerStep: perStep)
        self.sampler = sampler
    }

    var stepsPerEpoch: Int { order.stepsPerEpoch }
    /// Passes over the rows that are finished after `steps` steps.
    func progress(after steps: Int) -> Double { order.progress(after: steps) }

    /// The numbers of the rows of a step.
    ///
    /// - Throws: what the sampler throws.
    func rows(of step: Int) throws -> [Int] {
        let epoch = order.epoch(of: step)
        let rows: [Int]
        if let current, current.epoch == epoch {
            rows = current.order
        } else {
            let before = try sampler.save()
            rows = try sampler.order(epoch: epoch, count: order.rowCount)
            current = (epoch, rows, before)
        }
        return order.positions(of: step).map { rows[$0] }
    }

    /// The sampler's state for a run that goes on with `nextStep`, which asks for its epoch's order again.
    func snapshot(nextStep: Int) throws -> Instance.State? {
        if let current, current.epoch == order.epoch(of: nextStep) { return current.before }
        return try sampler.save()
    }

    func restore(_ state: JSON?) throws {
        if let saved = Instance.State(json: state) { try sampler.load(saved) }
    }
}
