import CKeel
import KeelCore
import KeelTensor

/// Objectives: the loss belongs to the rows, however the host cuts and pads them.
extension ConformanceTest {
    static let objectiveTests: [ConformanceTest] = [
        objective(
            "constants", "It gives gradients for columns of the policy only.", after: [],
            leavesCrashes: true, run: testConstants),
        objective(
            "runs", "Every phase has a finite loss and finite gradients on an ordinary batch.",
            after: ["declared", "columns", "constants"], run: testObjectiveRuns),
        objective(
            "repeated", "The same batch again, on the same instance, gives the same bits.",
            run: testRepeated),
        objective(
            "gives", "`prepare` gives every column that is declared.", run: testGives),
        objective(
            "prepare", "`prepare` gives the same columns when it runs twice.",
            run: testPrepare),
        objective(
            "padding", "Wider padding, and other numbers in it, leave loss and gradient alone.",
            after: ["repeated", "prepare"], run: testPadding),
        objective(
            "micro_batches",
            "Row by row (coupled: group by group) loss and gradient add up to those of the batch.",
            after: ["repeated", "prepare"], run: testMicroBatches),
    ]

    static func objective(
        _ name: String, _ help: String, after: [String] = ["runs"], leavesCrashes: Bool = false,
        run: @escaping @Sendable (Trial) throws -> Void
    ) -> ConformanceTest {
        ConformanceTest(
            .objective, name, help, kinds: [.objective], after: after,
            leavesCrashes: leavesCrashes, run: run)
    }

    static func objectiveRig(_ trial: Trial, _ params: JSONObject = [:]) throws -> ObjectiveRig {
        try ObjectiveRig(trial, try trial.parameters(params))
    }

    private static func testConstants(_ trial: Trial) throws {
        guard let rig = try? objectiveRig(trial) else { return }  // for `runs` to report
        for phase in rig.phases {
            var dice = trial.dice
            let batch = rig.batch(phase, &dice)
            let seen = HostProbe.tracing {
                if let ready = try? rig.prepared(batch, phase) {
                    _ = try? rig.evaluate(ready, phase)
                }
            }
            for name in seen.names[.grad] ?? [] where !ColumnNames.isDifferentiable(name) {
                throw Finding.fail(
                    "it gives a gradient for \"\(name)\", which is a constant",
                    fix: "give gradients for columns of the policy: logprobs, seq_logprobs ...")
            }
        }
    }

    private static func testObjectiveRuns(_ trial: Trial) throws {
        guard let rig = try firstRig(trial) as? ObjectiveRig else { return }
        for phase in rig.phases {
            let batch = try rig.prepared(rig.batch(phase, &trial.dice), phase)
            let result = try rig.evaluate(batch, phase)
            try expectFinite(result, "ordinary", phase)
            if result.gradients.values.allSatisfy({ $0.values.allSatisfy { $0 == 0 } }) {
                throw Finding.warn(
                    "phase \"\(phase.name)\" has no gradient at all",
                    fix: "a loss reads a column of the policy with keel_in")
            }
        }
    }

    static func expectFinite(_ result: Evaluation, _ place: String, _ phase: Phase) throws {
        guard result.loss.isFinite else {
            throw Finding.fail(
                "the loss of phase \"\(phase.name)\" is \(result.loss) on a batch that is \(place)",
                fix:
                    "use forms that do not overflow: keel_log_sigmoid, keel_logsumexp, keel_log1mexp"
            )
        }
        for (name, column) in result.gradients.sorted(by: { $0.key < $1.key }) {
            guard let bad = column.values.first(where: { !$0.isFinite }) else { continue }
            throw Finding.fail(
                "the gradient by \(name) holds \(bad.isNaN ? "nan" : "\(bad)") in phase \"\(phase.name)\", on a batch that is \(place)",
                fix:
                    "look for a division by 0, or a root or logarithm of 0; keel_where does not pass the gradient of the side not taken"
            )
        }
    }

    private static func bits(_ result: Evaluation) -> [UInt8] {
        var bits = Bits()
        bits.add([result.loss] + result.perRow)
        bits.add(result.gradients)
        return bits.bytes
    }

    private static func testRepeated(_ trial: Trial) throws {
        let rig = try objectiveRig(trial)
        for phase in rig.phases {
            let batch = try rig.prepared(rig.batch(phase, &trial.dice), phase)
            let first = try rig.evaluate(batch, phase)
            for _ in 0..<2 {
                let again = try rig.evaluate(batch, phase)
                guard bits(again) != bits(first),
                    !trial.subject.flags.contains(.nondeterministic)
                else { continue }
                throw Finding.fail(
                    "the loss is \(first.loss), and \(again.loss) when the same batch comes again",
                    fix: "`loss` keeps nothing: what lasts belongs into `prepare`, or is saved")
            }
        }
    }

    private static func testGives(_ trial: Trial) throws {
        let rig = try objectiveRig(trial)
        guard !trial.subject.gives.isEmpty else { return }
        var open = Set(trial.subject.gives)
        for phase in rig.phases {
            let batch = rig.batch(phase, &trial.dice)
            open.subtract(try rig.prepared(batch, phase).columns.keys)
        }
        guard let name = trial.subject.gives.first(where: open.contains) else { return }
        throw Finding.fail(
            "it says that it gives \"\(name)\", and no `prepare` does",
            fix: "put it with keel_put, or take it out of `gives`")
    }

    private static func testPrepare(_ trial: Trial) throws {
        let rig = try objectiveRig(trial)
        if trial.subject.hasCallback("save") {
            return trial.note("it has a state, which `prepare` may move")
        }
        for phase in rig.phases where phase.hasPrepare {
            let batch = rig.batch(phase, &trial.dice)
            let once = try rig.prepared(batch, phase)
            for (again, how) in [
                (try rig.prepared(batch, phase), "on the same rows"),
                (try rig.prepared(once, phase), "on its own result"),
            ] {
                for name in trial.subject.gives where again.columns[name] != once.columns[name] {
                    guard !same(once.columns[name], again.columns[name]) else { continue }
                    throw Finding.fail(
                        "`prepare` gives other \(name) when it runs a second time \(how)",
                        fix: "compute columns from the inputs alone, or save what lasts")
                }
            }
        }
    }

    private static func same(_ a: Column?, _ b: Column?) -> Bool {
        guard let a, let b, a.shape == b.shape else { return false }
        return zip(a.values, b.values).allSatisfy { $0 == $1 || $0.isNaN && $1.isNaN }
    }

    // MARK: - Padding

    private static func testPadding(_ trial: Trial) throws {
        let rig = try objectiveRig(trial)
        for phase in rig.phases {
            let given = rig.batch(phase, &trial.dice)
            // What `prepare` keeps would tell the second batch from the first.
            func outcome(of batch: ColumnBatch) throws -> Evaluation {
                let own = trial.subject.hasCallback("save") ? try objectiveRig(trial) : rig
                return try own.evaluate(try own.prepared(batch, phase), phase)
            }
            let expected = try outcome(of: given)
            for (extra, filling) in [(0, 3.25), (4, 0), (4, -7.5)] {
                let result = try outcome(of: padded(given, extra, filling))
                try expectClose(
                    expected.perRow + [expected.loss], result.perRow + [result.loss],
                    "the loss changes with the padding: \(extra) cells more, filled with \(filling)",
                    fix: "leave masked cells out: keel_masked_sum, keel_masked_mean")
                for (name, gradient) in expected.gradients {
                    guard let other = result.gradients[name] else { continue }
                    let width = gradient.shape.count > 1 ? gradient.shape[1] : 1
                    let wideWidth = other.shape.count > 1 ? other.shape[1] : 1
                    let kept = other.values.indices.filter { $0 % wideWidth < width }
                    try expectClose(
                        gradient.values, kept.map { other.values[$0] },
                        "the gradient by \(name) changes with the padding",
                        fix: "leave masked cells out: keel_masked_sum, keel_masked_mean")
                }
            }
        }
    }

    /// The batch with more masked cells, and a number in all masked cells.
    private static func padded(_ batch: ColumnBatch, _ extra: Int, _ filling: Double) -> ColumnBatch
    {
        var out = batch
        for (name, column) in batch.columns where column.shape.count == 2 {
            let prefix = ColumnNames.split(name).prefix
            guard let mask = batch.columns[prefix + "mask"], mask.shape == column.shape else {
                continue
            }
            let (rows, width) = (column.shape[0], column.shape[1])
            let (values, marks) = (column.values, mask.values)
            let isMask = ColumnNames.split(name).base == "mask"
            var cells: [Double] = []
            for row in 0..<rows {
                for at in 0..<width + extra {
                    let cell = row * width + at
                    let isPadding = at >= width || marks[cell] == 0
                    cells.append(isPadding ? (isMask ? 0 : filling) : values[cell])
                }
            }
            let shape = [rows, width + extra]
            out.columns[name] =
                column.isInteger
                ? Column(shape: shape, ints: cells.map { Int32(max(0, $0)) })
                : Column(shape: shape, cells)
        }
        return out
    }

    static func expectClose(
        _ a: [Double], _ b: [Double], relative: Double = 1e-9, _ what: String, fix: String
    ) throws {
        let scale = max(1e-12, (a + b).map { abs($0) }.max() ?? 0)
        for (index, (x, y)) in zip(a, b).enumerated() {
            if abs(x - y) <= relative * scale || x.isNaN && y.isNaN { continue }
            throw Finding.fail("\(what): \(x), then \(y), at place \(index)", fix: fix)
        }
    }

    // MARK: - Micro-batches

    private static func testMicroBatches(_ trial: Trial) throws {
        let rig = try objectiveRig(trial)
        let flags = trial.subject.flags
        for phase in rig.phases {
            let batch = try rig.prepared(rig.batch(phase, &trial.dice), phase)
            let whole = try rig.evaluate(batch, phase)
            let groups =
                flags.contains(.coupled)
                ? LiveRows(batch).groups : (0..<batch.rows).map { [$0] }
            guard !groups.isEmpty else {
                trial.note("it is coupled, and the batch has no groups")
                continue
            }
            if isFinal(rig, batch, phase), !flags.contains(.linear) {
                trial.note("phase \"\(phase.name)\" returns a final number: micro-batching is off")
                continue
            }
            let denominator = Reduction.denominator(of: batch)
            var loss = 0.0
            var gradients: [String: [Double]] = [:]
            for rows in groups {
                let part = try rig.evaluate(
                    batch.taking(rows), phase, denominator: denominator)
                loss += part.loss
                for (name, column) in part.gradients {
                    let width = rows.isEmpty ? 0 : column.count / rows.count
                    var all =
                        gradients[name] ?? [Double](repeating: 0, count: width * batch.rows)
                    for (index, row) in rows.enumerated() {
                        for at in 0..<width {
                            all[row * width + at] = column.values[index * width + at]
                        }
                    }
                    gradients[name] = all
                }
            }
            let fix =
                "a row's loss depends on its row alone: compare rows in `prepare`, or set KEEL_COUPLED"
            try expectClose(
                [whole.loss], [loss],
                "the loss of the batch is not the sum of its micro-batches", fix: fix)
            for (name, column) in whole.gradients {
                try expectClose(
                    column.values, gradients[name] ?? [],
                    "the gradient by \(name) is not that of the micro-batches", fix: fix)
            }
        }
    }

    /// Whether the loss is one number, not one per row or token.
    private static func isFinal(_ rig: ObjectiveRig, _ batch: ColumnBatch, _ phase: Phase) -> Bool {
        let call = Call(
            rig.instance, .loss, batch: batch, context: ObjectiveRig.context(phase))
        call.tensors = TensorTable(device: .cpu(threads: 1), dtype: .f64)
        guard let loss = rig.instance.rawPhases[phase.name]?.loss ?? rig.instance.raw.loss else {
            return false
        }
        let handle = loss(rig.instance.own, call.pointer)
        return (try? call.shape(handle.id))?.isEmpty ?? false
    }
}

extension ColumnBatch {
    /// Some of the rows, with what belongs to them.
    func taking(_ chosen: [Int]) -> ColumnBatch {
        var out = ColumnBatch(rows: chosen.count)
        for (name, column) in columns {
            guard column.shape.first == rows, rows > 0 else {
                out.columns[name] = column
                continue
            }
            let width = column.count / rows
            var shape = column.shape
            shape[0] = chosen.count
            let cells = chosen.flatMap { $0 * width..<($0 + 1) * width }
            switch column.storage {
            case .doubles(let values):
                out.columns[name] = Column(shape: shape, cells.map { values[$0] })
            case .ints(let values):
                out.columns[name] = Column(shape: shape, ints: cells.map { values[$0] })
            }
        }
        for (name, cells) in text { out.text[name] = chosen.map { cells[$0] } }
        if rowJSON.count == rows { out.rowJSON = chosen.map { rowJSON[$0] } }
        if tokens.count == rows { out.tokens = chosen.map { tokens[$0] } }
        if promptLengths.count == rows { out.promptLengths = chosen.map { promptLengths[$0] } }
        out.rowIDs = chosen.map { rowID($0) }
        return out
    }
}
