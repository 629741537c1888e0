import KeelCore
import KeelData
import KeelModel
import OrderedCollections

/// A phase that fits a value head to rewards, and nothing else (A-LoL's first).
///
/// Its rows may be made when it begins. The head that it ends with is the one of the epoch with the smallest running
/// error.
final class ValueLoop: TrainingLoop {
    /// Makes the rows, and says what it found.
    typealias Source =
        (_ limit: Int?) throws -> (rows: OfflineRows, metrics: OrderedDictionary<String, Double>)

    private let makeRows: Source
    private let makeLoop: (OfflineRows) -> OfflineLoop
    private let networks: Networks
    private let update: PolicyUpdate
    /// Steps of an epoch as far as is known before the rows are there.
    private let expectedSteps: Int
    private var loop: OfflineLoop?
    private var selection = BestEpoch()
    private var saved: JSON?
    private var found: OrderedDictionary<String, Double> = [:]
    /// Rows that a rehearsal makes do with.
    var limit: Int?

    init(
        networks: Networks, update: PolicyUpdate, expectedSteps: Int, rows: @escaping Source,
        loop: @escaping (OfflineRows) -> OfflineLoop
    ) {
        self.networks = networks
        self.update = update
        self.expectedSteps = expectedSteps
        makeRows = rows
        makeLoop = loop
    }

    private var inner: OfflineLoop {
        guard let loop else { preconditionFailure("a value phase that has not begun") }
        return loop
    }

    var stepsPerEpoch: Int { loop?.stepsPerEpoch ?? expectedSteps }
    func epoch(after steps: Int) -> Double {
        loop?.epoch(after: steps) ?? Double(steps) / Double(max(1, expectedSteps))
    }

    func begin() throws {
        let made = try makeRows(limit)
        warnOfRange(made.rows)
        let loop = makeLoop(made.rows)
        self.loop = loop
        if let saved {
            try loop.restore(saved["loop"] ?? [:])
            selection = BestEpoch(json: saved["selection"] ?? [:])
        } else {
            found = made.metrics
        }
        try loop.begin()
    }

    /// A bounded head never gets near rewards beyond its bounds.
    private func warnOfRange(_ rows: OfflineRows) {
        let rewards = rows.rows.flatMap { rows.values[$0.index].rewards ?? [] }
        guard let most = networks.valueHead?.settings.maxValue, let low = rewards.min(),
            let high = rewards.max(), low < 0 || high > most
        else { return }
        Log.warning(
            "rewards lie between \(low) and \(high), values between 0 and \(most): set data.reward_transform "
                + "to \"sigmoid\", or value_head.max_value to the largest reward")
    }

    /// None before its rows are made: the phase computes without gradients of a model.
    func planned(from step: Int, count: Int) throws -> [PlannedRows] {
        try loop?.planned(from: step, count: count) ?? []
    }

    func step(_ step: Int) throws -> StepResult {
        var result = try inner.step(step)
        for (name, value) in found { result.metrics[name] = value }
        found = [:]
        selection.add(result.loss)
        if (step + 1) % inner.stepsPerEpoch == 0 {
            if selection.endEpoch() { networks.bestValueHead = networks.valueHead?.copies() }
            result.metrics["value_head/epoch_mse"] = selection.errors.last
            result.metrics["value_head/best_epoch"] = Double(selection.best + 1)
        }
        if step + 1 == update.schedules.first?.totalSteps, let best = networks.bestValueHead {
            networks.valueHead?.assign(best)
            networks.bestValueHead = nil
        }
        return result
    }

    /// The rows are those that it trains on: there is nothing else to measure it by.
    func evaluate(step: Int) throws -> OrderedDictionary<String, Double> { [:] }
    func samples(step: Int) throws -> [JSONObject] { [] }

    func snapshot(nextStep: Int) throws -> LoopSnapshot {
        guard let loop else { return LoopSnapshot { [:] } }
        let (state, selection) = (try loop.snapshot(nextStep: nextStep), selection)
        return LoopSnapshot { ["loop": state.json, "selection": selection.json] }
    }

    func restore(_ state: JSON) throws { saved = state }
    func flushCaches() { loop?.flushCaches() }
}
