import KeelBridge
import KeelCore
import OrderedCollections

/// One phase of a run: its loop, and how long it is.
final class PhaseRun {
    /// How many steps a phase takes.
    enum Length {
        case steps(Int)
        case epochs(Double)
    }

    let phase: Phase
    let loop: any TrainingLoop
    let update: PolicyUpdate
    let isOnline: Bool
    let length: Length
    /// What the phase trains.
    let parts: [Part]
    /// The schedule of a trainer's rate over so many steps.
    let schedule: (Trainer, Int) -> Schedule
    /// What became of the rows of the data, logged with the first step.
    let dataMetrics: [(String, Double)]

    init(
        phase: Phase, loop: any TrainingLoop, update: PolicyUpdate, isOnline: Bool, length: Length,
        parts: [Part], dataMetrics: [(String, Double)] = [],
        schedule: @escaping (Trainer, Int) -> Schedule
    ) {
        self.dataMetrics = dataMetrics
        self.phase = phase
        self.loop = loop
        self.update = update
        self.isOnline = isOnline
        self.length = length
        self.parts = parts
        self.schedule = schedule
    }

    /// Its optimizer steps; an estimate before the loop has begun.
    var steps: Int {
        switch length {
        case .steps(let steps): steps
        case .epochs(let epochs): loop.steps(epochs: epochs)
        }
    }
}

/// The phases of an objective, one after the other; a run with one phase is a list of one.
///
/// Steps are those of the whole run; each phase counts its own from 0. A phase begins when the one
/// before it has ended and its checkpoint is written: what it needs to know of the data (which rows
/// are kept, how many steps that makes) it finds out then.
///
/// Where the reference becomes the policy in the middle of a phase, that phase waits while those before it that value
/// prompts are made again, and then goes on where it was.
final class PhasedLoop: TrainingLoop {
    let phases: [PhaseRun]
    private let trainers: Trainers
    /// The phase at work, and the steps of the run before it.
    private var place: (number: Int, firstStep: Int) = (0, 0)
    private var hasBegun = false
    /// The phase that waits for values of the new reference, and the steps it has made.
    private var waiting: (number: Int, steps: Int)?
    private let update: ReferenceUpdate?
    /// Where the reference last became the policy, in steps of the run.
    private var updatedAt: Int?

    /// - Parameter update: nil where the reference stays.
    init(_ phases: [PhaseRun], trainers: Trainers, update: ReferenceUpdate? = nil) {
        precondition(!phases.isEmpty, "a run without phases")
        self.phases = phases
        self.trainers = trainers
        self.update = update
    }

    private var current: PhaseRun { phases[place.number] }

    /// The phase at work.
    var phase: Phase { current.phase }
    var isOnline: Bool { current.isOnline }
    /// Metrics are told apart by phase where there are several.
    var label: String? { phases.count > 1 ? current.phase.name : nil }
    var stepsPerEpoch: Int { current.loop.stepsPerEpoch }
    /// Whether the phase at work trains the policy.
    var trainsPolicy: Bool { current.parts.contains(.policy) }

    /// Steps of the whole run, as far as is known: phases to come may yet filter their rows.
    var totalSteps: Int {
        var total = place.firstStep + current.steps
        var number = place.number
        while let next = following(number) {
            total += phases[next].steps - (waiting?.number == next ? waiting?.steps ?? 0 : 0)
            number = next
        }
        return total
    }

    /// The phase after another; what has been trained before one that waits is not trained again.
    private func following(_ number: Int) -> Int? {
        phases.indices.dropFirst(number + 1).first {
            $0 >= waiting?.number ?? 0 || phases[$0].loop is ValueLoop
        }
    }

    /// Whether a phase ends with `steps` steps of the run.
    func isPhaseEnd(_ steps: Int) -> Bool { steps == place.firstStep + current.steps }

    /// Whether a checkpoint is due after `steps` steps: a phase ends, or the reference has just changed.
    func isTurn(_ steps: Int) -> Bool { isPhaseEnd(steps) || updatedAt == steps }

    func epoch(after steps: Int) -> Double { current.loop.epoch(after: steps - place.firstStep) }

    // MARK: - Phases

    func begin() throws {
        try enter(place.number, firstStep: place.firstStep)
    }

    /// Begins a phase, or goes on with a restored one.
    private func enter(_ number: Int, firstStep: Int) throws {
        place = (number, firstStep)
        hasBegun = true
        let phase = current
        trainers.enable(phase.parts)
        phase.update.firstStep = firstStep
        try phase.loop.begin()
        phase.update.schedules = phase.update.trainers.map { phase.schedule($0, phase.steps) }
        guard phases.count > 1 else { return }
        Log.notice(
            "phase \(phase.phase.name): \(phase.steps) steps, trains "
                + phase.parts.map(\.rawValue).joined(separator: " and "))
    }

    func planned(from step: Int, count: Int) throws -> [PlannedRows] {
        try current.loop.planned(
            from: step - place.firstStep, count: min(count, current.steps - step + place.firstStep))
    }

    /// The steps to come of the phase at work and of those after it, by phase.
    ///
    /// - Parameter count: steps of each phase at most.
    func plannedPhases(from step: Int, count: Int) throws -> [(phase: String, rows: [PlannedRows])]
    {
        try phases[place.number...].enumerated().map { number, phase in
            let start = number == 0 ? step - place.firstStep : 0
            let rows = try phase.loop.planned(
                from: start, count: min(count, max(0, phase.steps - start)))
            return (phase.phase.name, rows)
        }
    }

    func step(_ step: Int) throws -> StepResult {
        if !hasBegun { try begin() }
        while isPhaseEnd(step), let next = following(place.number) {
            // One that has waited counts its steps on.
            let made = waiting?.number == next ? waiting?.steps ?? 0 : 0
            if waiting?.number == next { waiting = nil }
            try enter(next, firstStep: step - made)
        }
        var result = try current.loop.step(step - place.firstStep)
        if step == place.firstStep {
            for (name, value) in current.dataMetrics { result.metrics[name] = value }
        }
        if let update { result.metrics["reference/updates"] = Double(update.count) }
        return result
    }

    // MARK: - The reference

    /// Whether the reference may yet become the policy.
    var mayUpdate: Bool { update != nil && waiting == nil && trainsPolicy }

    /// Whether the values of a new reference are being made: the policy is as it was at the update.
    var isWaiting: Bool { waiting != nil }

    /// Looks at an evaluation after `steps` steps: whether the policy is to become the reference.
    func isUpdateDue(_ values: OrderedDictionary<String, Double>, after steps: Int) -> Bool {
        guard let update, !isWaiting else { return false }
        // At its end there is nothing left to train against a new one.
        let isStart = steps == 0 || !trainsPolicy
        return update.isDue(values, isStart: isStart) && !isPhaseEnd(steps)
    }

    /// What the log says of it beside the evaluation.
    func updateMetrics(isDue: Bool) -> [(String, Double)] {
        guard let update else { return [] }
        return [("eval_reference/updates", Double(update.count + (isDue ? 1 : 0)))]
            + (update.baseline.map { [("eval_reference/baseline", $0)] } ?? [])
    }

    /// Makes the policy the reference; the loops that depend on it begin anew with the next step.
    ///
    /// - Throws: what loops throw that get ready for that; then the reference is as it was.
    func updateReference(after steps: Int) throws {
        let (own, made) = (place.number, steps - place.firstStep)
        for number in phases.indices.reversed() {
            try phases[number].loop.renew(at: number == own ? made : 0)
        }
        // From here on nothing throws: the reference moves together with the state that says so.
        update?.perform()
        updatedAt = steps
        hasBegun = false
        guard let first = phases[..<own].firstIndex(where: { $0.loop is ValueLoop }) else { return }
        waiting = (own, made)
        place = (first, steps)
    }

    func evaluate(step: Int) throws -> OrderedDictionary<String, Double> {
        try current.loop.evaluate(step: step - place.firstStep)
    }

    func samples(step: Int) throws -> [JSONObject] {
        try current.loop.samples(step: step - place.firstStep)
    }

    func flushCaches() { for phase in phases { phase.loop.flushCaches() } }

    /// The first steps of every phase, for `keel check`: (phase, result).
    func rehearse(_ count: Int) throws -> [(phase: String, result: StepResult, seconds: Double)] {
        var results: [(String, StepResult, Double)] = []
        for number in phases.indices {
            (phases[number].loop as? ValueLoop)?.limit = 2 * phases[number].update.microBatchRows
            try enter(number, firstStep: 0)
            for step in 0..<min(count, current.steps) {
                let begin = Clock.now()
                let result = try current.loop.step(step)
                results.append((current.phase.name, result, Clock.now() - begin))
            }
        }
        return results
    }

    // MARK: - State

    func snapshot(nextStep: Int) throws -> LoopSnapshot {
        let (name, first) = (current.phase.name, place.firstStep)
        let state = try current.loop.snapshot(nextStep: nextStep - first)
        let reference = update?.json
        let waiting = try waiting.map { place in
            (
                name: phases[place.number].phase.name, steps: place.steps,
                state: try phases[place.number].loop.snapshot(nextStep: place.steps)
            )
        }
        return LoopSnapshot {
            var object: JSONObject = [
                "phase": .string(name), "first_step": JSON(first), "state": state.json,
            ]
            if let reference { object["reference"] = reference }
            if let waiting {
                object["waiting"] = [
                    "phase": .string(waiting.name), "steps": JSON(waiting.steps),
                    "state": waiting.state.json,
                ]
            }
            return .object(object)
        }
    }

    /// - Throws: `KeelError` (badData) for a checkpoint of a phase that this run has not.
    func restore(_ state: JSON) throws {
        guard let name = state["phase"]?.string else { return try current.loop.restore(state) }
        update?.restore(state["reference"])
        place = (try number(of: name), state["first_step"]?.int ?? 0)
        if let saved = state["waiting"], let name = saved["phase"]?.string {
            waiting = (try number(of: name), saved["steps"]?.int ?? 0)
            try phases[try number(of: name)].loop.restore(saved["state"] ?? [:])
        }
        try current.loop.restore(state["state"] ?? [:])
    }

    private func number(of phase: String) throws -> Int {
        if let number = phases.firstIndex(where: { $0.phase.name == phase }) { return number }
        throw KeelError(
            "resume",
            "the checkpoint was written in the phase \"\(phase)\", which this run has not",
            at: CheckpointStore.stateFile,
            fix: "resume with the config that the run was started with", code: .badData)
    }
}
