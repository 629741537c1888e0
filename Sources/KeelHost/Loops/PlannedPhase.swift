import KeelBridge
import KeelCore

/// A phase as objective and config settle it, before anything is loaded.
struct PlannedPhase {
    let phase: Phase
    /// `text`, `pairs`, `rollouts` ...
    let dataKind: String
    var parts: [Part]
    let length: PhaseRun.Length

    /// Batches come from the policy itself.
    var isOnline: Bool { dataKind == "rollouts" }

    /// The phases of an objective in order; one of length 0 is left out.
    ///
    /// - Throws: `KeelError` (config) when none is left, or the config names one that is not there.
    static func all(
        _ objective: ObjectiveInstance, _ parameters: ParameterValues, _ config: RunConfig,
        _ plan: HeadPlan
    ) throws -> [PlannedPhase] {
        let component = objective.component
        let names = component.phases.map(\.name)
        for name in config.phases.byName.keys where !names.contains(name) {
            let near = nearest(name, among: names).map { "did you mean \"\($0)\"? " } ?? ""
            throw KeelError(
                "config", "objective \"\(component.name)\" has no phase \"\(name)\"",
                at: config.places.place(of: "phases.\(name)"),
                fix: near + "phases: \(names.joined(separator: ", "))", code: .config)
        }
        let phases: [PlannedPhase] = try component.phases.compactMap { phase in
            let length = length(of: phase, parameters, config)
            switch length {
            case .steps(let steps) where steps <= 0: return nil
            case .epochs(let epochs) where epochs <= 0: return nil
            default: break
            }
            return PlannedPhase(
                phase: phase, dataKind: objective.dataKind(phase),
                parts: try plan.parts(of: phase, component), length: length)
        }
        guard !phases.isEmpty else {
            throw KeelError(
                "config", "every phase of objective \"\(component.name)\" has the length 0",
                at: config.places.place(of: "objective.params"),
                fix: "give one of \(names.joined(separator: ", ")) a length", code: .config)
        }
        return phases
    }

    /// The config's length for the phase, else that of the objective's parameter, else the run's.
    private static func length(
        of phase: Phase, _ parameters: ParameterValues, _ config: RunConfig
    ) -> PhaseRun.Length {
        let own = config.phases.byName[phase.name]
        if let steps = own?.maxSteps { return .steps(steps) }
        if let epochs = own?.numTrainEpochs { return .epochs(epochs) }
        if let value = phase.steps.flatMap({ parameters.values[$0]?.double }), value >= 0 {
            return .steps(wholeSteps(value))
        }
        if let value = phase.epochs.flatMap({ parameters.values[$0]?.double }), value >= 0 {
            return .epochs(value)
        }
        return config.train.maxSteps > 0
            ? .steps(config.train.maxSteps) : .epochs(config.train.numTrainEpochs)
    }

    /// How the rate of a trainer goes over the steps of the phase.
    func schedule(_ trainer: Trainer, _ steps: Int, _ config: RunConfig) -> Schedule {
        let train = config.train
        let warmup =
            train.warmupSteps > 0
            ? train.warmupSteps : Int((train.warmupRatio * Double(steps)).rounded(.up))
        return Schedule(
            kind: Schedule.Kind(rawValue: train.lrSchedulerType.rawValue) ?? .linear,
            peak: config.phases.byName[phase.name]?.learningRate ?? trainer.learningRate,
            warmupSteps: warmup, totalSteps: steps)
    }
}
