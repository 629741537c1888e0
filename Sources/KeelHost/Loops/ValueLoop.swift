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
    private let makeLoop: (OfflineRows) throws -> OfflineLoop
    private let networks: Networks
    private let update: PolicyUpdate
    /// Steps of an epoch as far as is known before the rows are there.
    private let expectedSteps: Int
    private var loop: OfflineLoop?
    private var rows: OfflineRows?
    private var selection = BestEpoch()
    private var saved: JSON?
    private var found: OrderedDictionary<String, Double> = [:]
    /// The policy's answers to the validation prompts, where evaluations ask for them.
    var answers: ValidationAnswers?
    /// Rows that a rehearsal makes do with.
    var limit: Int?
    private let makeCache: (() throws -> ValueHeadCache)?
    /// That of the head in training.
    private var cache: ValueHeadCache?
    /// What the steps reported when the head was trained before; nil = they are made.
    private var replay: ValueHeadCache.Trace?
    /// What the steps have reported; nil where it is not the whole training.
    private var trace: ValueHeadCache.Trace?

    /// - Parameter cache: where heads trained as this one will be are kept; nil keeps none.
    init(
        networks: Networks, update: PolicyUpdate, expectedSteps: Int,
        cache: (() throws -> ValueHeadCache)? = nil,
        rows: @escaping Source, loop: @escaping (OfflineRows) throws -> OfflineLoop
    ) {
        makeCache = cache
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
        let loop = try makeLoop(made.rows)
        (self.loop, rows) = (loop, made.rows)
        cache = limit == nil ? try makeCache?() : nil
        if let saved {
            try loop.restore(saved["loop"] ?? [:])
            selection = BestEpoch(json: saved["selection"] ?? [:])
            replay = saved["replay"]?.array?.compactMap(StepResult.init(json:))
        } else {
            lookUp(made)
        }
        try loop.begin()
    }

    /// Takes a head that was trained on the same rows in the same way, or gets ready to keep this one.
    private func lookUp(
        _ made: (rows: OfflineRows, metrics: OrderedDictionary<String, Double>)
    ) {
        found = made.metrics
        guard let cache, let head = networks.valueHead else { return }
        replay = cache.read(made.rows, into: head)
        trace = replay == nil ? [] : nil
        guard replay != nil else { return }
        found = [:]
        Log.notice("the value head is kept from an earlier run with the same rows and settings")
    }

    /// A bounded head never gets near rewards beyond its bounds.
    private func warnOfRange(_ rows: OfflineRows) {
        let rewards = rows.rows.indexes.flatMap { rows.values[$0].rewards ?? [] }
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
        if let replay {
            guard step < replay.count else {
                throw KeelError(
                    "train", "the kept value head was trained in \(replay.count) steps",
                    at: "step \(step + 1)", code: .internalBug)
            }
            return replay[step]
        }
        var result = try inner.step(step)
        for (name, value) in found { result.metrics[name] = value }
        found = [:]
        selection.add(result.loss)
        if (step + 1) % inner.stepsPerEpoch == 0 {
            if selection.endEpoch() { networks.bestValueHead = networks.valueHead?.copies() }
            result.metrics["value_head/epoch_mse"] = selection.errors.last
            result.metrics["value_head/best_epoch"] = Double(selection.best + 1)
        }
        trace?.append(result)
        if step + 1 == update.schedules.first?.totalSteps { end() }
        return result
    }

    /// The last step: the best epoch's head stays.
    private func end() {
        if let best = networks.bestValueHead { networks.valueHead?.assign(best) }
        networks.bestValueHead = nil
        guard let cache, let rows, let trace, let head = networks.valueHead else { return }
        cache.write(rows, head, trace)
    }

    /// The rows are those that it trains on: there is nothing to measure it by, but the policy may answer.
    func evaluate(step: Int) throws -> OrderedDictionary<String, Double> {
        try answers?.metrics(update.context(step: step, epoch: epoch(after: step))) ?? [:]
    }
    func samples(step: Int) throws -> [JSONObject] { [] }

    func snapshot(nextStep: Int) throws -> LoopSnapshot {
        guard let loop else { return LoopSnapshot { [:] } }
        let (state, selection) = (try loop.snapshot(nextStep: nextStep), selection)
        let replay = replay
        return LoopSnapshot {
            var object: JSONObject = ["loop": state.json, "selection": selection.json]
            if let replay { object["replay"] = .array(replay.map(\.json)) }
            return .object(object)
        }
    }

    /// A state of a phase that had not begun is none.
    func restore(_ state: JSON) throws { saved = state.object?.isEmpty == false ? state : nil }

    /// The head begins again as it was in the beginning.
    func renew(at step: Int) throws {
        (loop, rows, saved, cache) = (nil, nil, nil, nil)
        (replay, trace, found) = (nil, nil, [:])
        selection = BestEpoch()
        networks.bestValueHead = nil
        try networks.valueHead?.reset()
        for trainer in update.trainers { trainer.optimizer.reset() }
    }
    func flushCaches() { loop?.flushCaches() }
}
