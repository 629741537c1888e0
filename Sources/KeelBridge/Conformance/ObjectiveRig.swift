import KeelCore
import KeelTensor

/// An objective under test: makes batches for each of its phases and evaluates them in f64.
final class ObjectiveRig: Rig {
    let objective: ObjectiveInstance
    let trial: Trial

    var instance: Instance { objective.instance }

    init(_ trial: Trial, _ parameters: ParameterValues, name: String? = nil) throws {
        self.trial = trial
        trial.at("create")
        objective = try ObjectiveInstance(
            trial.subject, catalog: trial.catalog, parameters: parameters, name: name,
            seed: trial.seed, device: .cpu(threads: 1), precision: .f64,
            context: RewardRig.context())
    }

    var phases: [Phase] { trial.subject.phases }

    static func context(_ phase: Phase, step: Int = 0, stopping: Bool = false) -> CallContext {
        var context = RewardRig.context(step: step, stopping: stopping)
        context.phase = phase.name
        return context
    }

    /// A batch with everything that the phase needs, optional columns too.
    func batch(
        _ phase: Phase, _ dice: inout Dice, point: SyntheticBatch.Point = .ordinary
    ) -> ColumnBatch {
        SyntheticBatch(
            data: objective.dataKind(phase), needs: objective.needs(phase: phase.name),
            gives: trial.subject.gives, point: point
        ).make(&dice)
    }

    /// The batch with what `prepare` gives.
    func prepared(_ batch: ColumnBatch, _ phase: Phase, step: Int = 0) throws -> ColumnBatch {
        var batch = batch
        trial.at("prepare, phase \(phase.name)")
        try objective.prepare(&batch, context: ObjectiveRig.context(phase, step: step))
        return batch
    }

    func evaluate(
        _ batch: ColumnBatch, _ phase: Phase, denominator: Denominator? = nil,
        gradients: Bool = true, stopping: Bool = false
    ) throws -> Evaluation {
        if gradients { trial.at("loss, phase \(phase.name)") }
        return try objective.evaluate(
            batch, denominator: denominator, gradients: gradients,
            context: ObjectiveRig.context(phase, stopping: stopping))
    }

    // MARK: - Rig

    func work(_ round: Int) throws -> [UInt8] {
        var bits = Bits()
        for phase in phases {
            var dice = Dice(seed: trial.seed, place: "work/\(round)/\(phase.name)")
            let batch = try prepared(batch(phase, &dice), phase, step: round)
            let result = try evaluate(batch, phase)
            bits.add([result.loss] + result.perRow)
            bits.add(result.gradients)
            bits.add(batch.columns)
        }
        return bits.bytes
    }

    func workWhileStopping() throws {
        for phase in phases {
            var dice = Dice(seed: trial.seed, place: "work/stopping")
            var batch = batch(phase, &dice)
            let context = ObjectiveRig.context(phase, stopping: true)
            trial.at("prepare, phase \(phase.name)")
            try objective.prepare(&batch, context: context)
            _ = try evaluate(batch, phase, stopping: true)
        }
    }

    func fuzz(_ dice: inout Dice) throws -> [UInt8] {
        let phase = dice.pick(phases)
        let point = dice.pick(SyntheticBatch.Point.all)
        var batch = batch(phase, &dice, point: point)
        // Optional columns come and go; rows may have no weight, no trained token.
        for need in objective.needs(phase: phase.name)
        where need.hasSuffix("?") && dice.below(2) == 0 {
            batch.columns[String(need.dropLast())] = nil
        }
        if dice.below(3) == 0 {
            batch.columns["weight"] = Column((0..<batch.rows).map { _ in Double(dice.below(3)) })
        }
        for name in ["mask", "chosen.mask"] where dice.below(4) == 0 {
            guard let mask = batch.columns[name] else { continue }
            let width = mask.count / batch.rows
            batch.columns[name] = Column(
                shape: mask.shape, mask.values.enumerated().map { $0 / width == 0 ? 0 : $1 })
        }
        batch = try prepared(batch, phase)
        let result = try evaluate(batch, phase)
        var bits = Bits()
        bits.add([result.loss] + result.perRow)
        bits.add(result.gradients)
        return bits.bytes
    }
}
