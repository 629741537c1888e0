import KeelCore

/// Gradients against central differences in f64.
extension ConformanceTest {
    static let gradientTests: [ConformanceTest] = [
        objective(
            "gradient",
            "At ordinary points the gradient is that of central differences, to 1e-6, with every choice.",
            after: ["repeated", "prepare"], run: testGradient),
        objective(
            "extreme",
            "At log-probabilities of -1e4 loss and gradient are finite and of the right sign.",
            after: ["gradient"], run: testExtreme),
        objective(
            "ties",
            "Where ratios are 1 and sides are equal, loss and gradient are finite and one of the slopes.",
            after: ["gradient"], run: testTies),
    ]

    private static func testGradient(_ trial: Trial) throws {
        var variants: [JSONObject] = [[:]]
        for parameter in trial.subject.parameters where parameter.kind == .choice {
            for choice in parameter.choices where .string(choice) != parameter.fallback {
                variants.append([parameter.name: .string(choice)])
            }
        }
        for variant in variants.prefix(16) {
            let rig: ObjectiveRig
            do { rig = try objectiveRig(trial, variant) } catch is KeelError {
                trial.note("not with \(JSON.object(variant).text()), which `create` refuses")
                continue
            }
            for phase in rig.phases {
                var dice = trial.dice
                try check(rig, phase, rig.batch(phase, &dice), variant, .exact)
            }
        }
    }

    private static func testExtreme(_ trial: Trial) throws {
        let rig = try objectiveRig(trial)
        for phase in rig.phases {
            for point in SyntheticBatch.Point.extremes(of: rig.objective.dataKind(phase)) {
                var dice = trial.dice
                let batch = rig.batch(phase, &dice, point: point)
                try check(rig, phase, batch, [:], .sign, point.name)
            }
        }
    }

    private static func testTies(_ trial: Trial) throws {
        let rig = try objectiveRig(trial)
        for phase in rig.phases {
            for point in [SyntheticBatch.Point.ratioOne, .tied] {
                var dice = trial.dice
                let batch = rig.batch(phase, &dice, point: point)
                try check(rig, phase, batch, [:], .kinks, point.name)
            }
        }
    }

    /// How near a gradient must come.
    private enum Rigour {
        /// To 1e-6 of the largest; at a kink, one of the slopes.
        case exact
        /// The same, and most cells may lie on kinks.
        case kinks
        /// Finite, and of the right sign where it counts.
        case sign
    }

    /// Cells of a column that are tried.
    private static let tried = 24

    private static func check(
        _ rig: ObjectiveRig, _ phase: Phase, _ given: ColumnBatch, _ variant: JSONObject,
        _ rigour: Rigour, _ place: String = "ordinary"
    ) throws {
        let batch = try rig.prepared(given, phase)
        HostProbe.reset()
        HostProbe.state.withLock {
            $0.isExplicit = rig.trial.subject.flags.contains(.explicitGradient)
            $0.constants = .recorded
        }
        defer { HostProbe.reset() }
        let result = try rig.evaluate(batch, phase)
        let with = variant.isEmpty ? place : "\(place), with \(JSON.object(variant).text())"
        try expectFinite(result, with, phase)
        let scale = result.gradients.values.flatMap(\.values).map { abs($0) }.max() ?? 0
        for (name, gradient) in result.gradients.sorted(by: { $0.key < $1.key }) {
            guard let column = batch.columns[name] else { continue }
            let stride = max(1, column.count / tried)
            for cell in Swift.stride(from: 0, to: column.count, by: stride) {
                let got = gradient.values[cell]
                let isRight = try agrees(
                    got, scale: scale, rigour, at: column.values[cell], loss: result.loss
                ) { moved in
                    var values = column.values
                    values[cell] = moved
                    var shifted = batch
                    shifted.columns[name] = Column(shape: column.shape, values)
                    HostProbe.state.withLock {
                        $0.constants = .replayed
                        $0.next = 0
                    }
                    return try rig.evaluate(shifted, phase, gradients: false).loss
                }
                guard let slope = isRight else { continue }
                throw Finding.fail(
                    "the gradient by \(name), cell \(cell), is \(got); the loss changes by \(slope) (phase \"\(phase.name)\", \(with))",
                    fix: rig.trial.subject.flags.contains(.explicitGradient)
                        ? "correct what `loss` gives to keel_grad: the gradient of the sum of the losses"
                        : "report this: operations have their gradient from the host")
            }
        }
    }

    /// The slope of the loss when the gradient does not agree with it; nil when it does.
    private static func agrees(
        _ got: Double, scale: Double, _ rigour: Rigour, at x: Double, loss: Double,
        _ f: (Double) throws -> Double
    ) throws -> Double? {
        // Rounding of a sum of size |loss| against the curvature: both well below 1e-6.
        let h = 1e-5 * max(1, abs(x) * 0.1)
        let noise = 1e-15 * max(1, abs(loss)) / h
        let (up, down) = (try f(x + h), try f(x - h))
        let central = (up - down) / (2 * h)
        let tolerance = 1e-6 * max(abs(central), abs(got), scale * 1e-2) + 20 * noise
        if rigour == .sign {
            guard up.isFinite, down.isFinite else { return nil }
            let isLarge = abs(central) > max(1e-3 * scale, 1e3 * noise, 1e-12)
            guard isLarge || abs(got) > 1e-2 * scale else { return nil }
            if central * got > 0, abs(central - got) < 1e-2 * max(abs(central), abs(got)) {
                return nil
            }
        } else if abs(central - got) <= tolerance {
            return nil
        }
        // A kink: the slopes on both sides differ, and the gradient is one of them or lies between.
        let (right, left) = ((up - loss) / h, (loss - down) / h)
        let isKink =
            abs(right - left) > 1e-3 * max(abs(right), abs(left), scale * 1e-3) + 100 * noise
        let slack = 1e-3 * max(abs(right), abs(left)) + 100 * noise
        if isKink, got >= min(right, left) - slack, got <= max(right, left) + slack { return nil }
        return central
    }
}
