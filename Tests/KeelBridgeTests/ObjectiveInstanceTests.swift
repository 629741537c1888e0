import KeelCore
import KeelTestSupport
import Testing

@testable import KeelBridge

struct ObjectiveInstanceTests {
    private let context = CallContext()

    /// Four pairs of up to five tokens; pair 2 has no trained token on the rejected side.
    private func pairs(_ chosen: [Double]? = nil, rows: Range<Int> = 0..<4) -> ColumnBatch {
        let marks: [Double] = [1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0]
        let others: [Double] = [1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
        let all: [(String, [Double])] = [
            ("chosen.logprobs", chosen ?? Zoo.numbers(20, "a")),
            ("rejected.logprobs", Zoo.numbers(20, "b")),
            ("chosen.ref_logprobs", Zoo.numbers(20, "c")),
            ("rejected.ref_logprobs", Zoo.numbers(20, "d")),
            ("chosen.mask", marks), ("rejected.mask", others),
        ]
        var batch = ColumnBatch(rows: rows.count)
        for (name, cells) in all {
            batch.columns[name] = Column(
                shape: [rows.count, 5], Array(cells[rows.lowerBound * 5..<rows.upperBound * 5]))
        }
        return batch
    }

    @Test func gradientsEqualCentralDifferences() throws {
        let objective = try Zoo.objective("zoo_dpo", ["beta": 0.4, "label_smoothing": 0.1])
        let base = Zoo.numbers(20, "a")
        let gradient = try #require(
            try objective.evaluate(pairs(base), context: context).gradients["chosen.logprobs"]
        ).values
        let step = 1e-5
        let slopes = try base.indices.map { index -> Double in
            var (up, down) = (base, base)
            up[index] += step
            down[index] -= step
            let high = try objective.evaluate(pairs(up), gradients: false, context: context).loss
            let low = try objective.evaluate(pairs(down), gradients: false, context: context).loss
            return (high - low) / (2 * step)
        }
        expectClose(gradient, slopes, .differences, "chosen.logprobs")
        #expect(gradient.contains { $0 != 0 })
    }

    /// A pair without a trained token on one side has no loss, no gradient and no place in the mean.
    @Test func rowsThatDoNotCountAddNothing() throws {
        let objective = try Zoo.objective("zoo_dpo")
        let all = try objective.evaluate(pairs(), context: context)
        #expect(all.perRow[2] == 0)
        for name in ["chosen.logprobs", "rejected.logprobs"] {
            #expect(all.gradients[name]?.values[10..<15].allSatisfy { $0 == 0 } == true)
        }
        var poisoned = pairs()
        var cells = poisoned.columns["chosen.logprobs"]?.values ?? []
        for index in 10..<15 { cells[index] = .nan }
        poisoned.columns["chosen.logprobs"] = Column(shape: [4, 5], cells)
        let same = try objective.evaluate(poisoned, context: context)
        #expect(same.loss == all.loss)
        #expect(same.gradients == all.gradients)
        #expect(same.metrics == all.metrics)
        // Tokens of the pairs 0, 1 and 3: 3 + 1, 5 + 4, 2 + 5.
        let denominator = Reduction.denominator(of: pairs())
        let expected = Denominator(rows: 3, tokens: 20, groups: 0)
        #expect(denominator == expected)
    }

    static let reductions: [Reduction] = [.rowMean, .tokenMean, .rowMeanOfTokenMean, .constant]

    @Test(arguments: reductions) func microBatchesSumToTheWhole(_ reduction: Reduction) throws {
        let objective = try Zoo.objective("zoo_dpo")
        let whole = try objective.evaluate(
            pairs(), reduction: reduction, constant: 7, context: context)
        let parts = [0..<1, 1..<3, 3..<4].map { pairs(rows: $0) }
        var denominator = Denominator()
        for part in parts { denominator += Reduction.denominator(of: part) }
        var (loss, cells, metrics) = (0.0, [Double](), MetricSums())
        for part in parts {
            let one = try objective.evaluate(
                part, reduction: reduction, constant: 7, denominator: denominator, context: context)
            loss += one.loss
            cells += one.gradients["rejected.logprobs"]?.values ?? []
            metrics.merge(one.metrics)
        }
        let tolerance = Tolerance(relative: 1e-13, absolute: 1e-15)
        expectClose([loss], [whole.loss], tolerance, "loss")
        expectClose(
            cells, whole.gradients["rejected.logprobs"]?.values ?? [], tolerance, "gradient")
        expectClose(
            [metrics["margin"] ?? .nan], [whole.metrics["margin"] ?? 0], tolerance, "metric")
    }

    // MARK: - Losses per token

    private var tokens: ColumnBatch {
        var batch = ColumnBatch(rows: 3)
        batch.columns["logprobs"] = Column(shape: [3, 2], [-1, -2, -3, .nan, -5, -6])
        batch.columns["mask"] = Column(shape: [3, 2], [1, 1, 1, 0, 1, 1])
        batch.columns["rewards"] = Column([1, 2, -1])
        return batch
    }

    /// What a reduction makes of rows whose token losses are 1, 2 and 6.
    struct ReductionCase: Sendable {
        var reduction: Reduction
        var loss: Double
        var weights: [Double]
    }

    static let reductionCases: [ReductionCase] = [
        ReductionCase(reduction: .rowMean, loss: 4.5, weights: [0.5, 0.5, 1]),
        ReductionCase(reduction: .tokenMean, loss: 3, weights: [1.0 / 3, 1.0 / 3, 2.0 / 3]),
        ReductionCase(reduction: .rowMeanOfTokenMean, loss: 3.75, weights: [0.25, 0.25, 1]),
        ReductionCase(reduction: .constant, loss: 2.25, weights: [0.25, 0.25, 0.5]),
    ]

    /// Sums of the rows 0 and 1 are 3 and 6; row 2 is filtered by prepare.
    @Test(arguments: reductionCases) func reductionsOfTokenLosses(_ item: ReductionCase) throws {
        let (reduction, loss, weights) = (item.reduction, item.loss, item.weights)
        let objective = try Zoo.objective("zoo_tokens")
        var batch = tokens
        let prepared = try objective.prepare(&batch, context: context)
        #expect(prepared["prepared"] == 3)
        #expect(batch.columns["weight"] == Column([1, 1, 0]))
        let result = try objective.evaluate(
            batch, reduction: reduction, constant: 4, context: context)
        let tolerance = Tolerance(relative: 1e-15)
        expectClose([result.loss], [loss], tolerance, "loss")
        let slopes: [Double] = weights.map { -$0 } + [0, 0, 0]
        expectClose(result.gradients["logprobs"]?.values ?? [], slopes, tolerance, "gradient")
        #expect(result.metrics["logprob"] == -2)
        #expect(objective.reduction() == .tokenMean)
    }

    @Test func weightMultipliesButDoesNotDivide() throws {
        let objective = try Zoo.objective("zoo_tokens")
        var batch = tokens
        try objective.prepare(&batch, context: context)
        batch.columns["weight"] = Column([2, 0.5, 0])
        let result = try objective.evaluate(batch, reduction: .rowMean, context: context)
        #expect(result.loss == 4.5)
        #expect(result.perRow == [6, 3, 0])
    }

    @Test func noRowsAtAllGiveZero() throws {
        let objective = try Zoo.objective("zoo_tokens")
        var batch = tokens
        try objective.prepare(&batch, context: context)
        batch.columns["weight"] = Column([0, 0, 0])
        let result = try objective.evaluate(batch, context: context)
        #expect(result.loss == 0)
        #expect(result.gradients["logprobs"]?.values.allSatisfy { $0 == 0 } == true)
    }

    // MARK: - Groups, scalars, explicit gradients

    @Test func coupledLossesAreOnePerGroup() throws {
        let objective = try Zoo.objective("zoo_groups")
        var batch = ColumnBatch(rows: 4)
        batch.columns["seq_logprobs"] = Column([-1, -2, -3, -4])
        batch.columns["group"] = Column(ints: [5, 5, 9, 9])
        let result = try objective.evaluate(batch, context: context)
        #expect(result.loss == -7.5)
        #expect(result.gradients["seq_logprobs"] == Column([0.5, 1, 1.5, 2]))
        #expect(Reduction.denominator(of: batch).groups == 2)
    }

    @Test func linearScalarsWeighByLiveRows() throws {
        let objective = try Zoo.objective("zoo_linear")
        var batch = ColumnBatch(rows: 2)
        batch.columns["scores"] = Column([1, 3])
        #expect(try objective.evaluate(batch, context: context).loss == 5)
        let part = try objective.evaluate(
            batch, denominator: Denominator(rows: 8, tokens: 0, groups: 0), context: context)
        #expect(part.loss == 1.25)
        #expect(part.gradients["scores"] == Column([0.25, 0.75]))
    }

    @Test func explicitGradientsReachTheTokens() throws {
        let objective = try Zoo.objective("zoo_explicit")
        var batch = ColumnBatch(rows: 2)
        batch.columns["logprobs"] = Column(shape: [2, 2], [-1, -2, -3, 9])
        batch.columns["mask"] = Column(shape: [2, 2], [1, 1, 1, 0])
        let result = try objective.evaluate(batch, context: context)
        #expect(result.loss == 9)
        #expect(result.gradients["logprobs"] == Column(shape: [2, 2], [-3, -3, -3, 0]))
    }

    @Test func singlePrecisionStaysNear() throws {
        let fine = try Zoo.objective("zoo_dpo").evaluate(pairs(), context: context)
        let coarse = try Zoo.objective("zoo_dpo", precision: .f32).evaluate(
            pairs(), context: context)
        expectClose([coarse.loss], [fine.loss], .f32Reduction(20), "loss")
        #expect(coarse.loss != fine.loss)
    }

    // MARK: - Misdeeds

    static let misdeeds: [(String, String)] = [
        (
            "column",
            "asked for the column \"seq_logprops\", which is not among its needs; did you mean \"seq_logprobs\"?"
        ),
        ("undeclared", "asked for the column \"values\", which is not among its needs"),
        (
            "param",
            "asked for the parameter \"betta\", which it does not declare; did you mean \"beta\"?"
        ),
        ("type", "parameter \"what\" is not a number, a switch or a choice"),
        ("made_up", "uses a tensor that was never made"),
        ("null", "uses a tensor that was never made (handle 0)"),
        ("shapes", "add([3], [5]): the shapes [3] and [5] do not broadcast"),
        ("axis", "sum([3]): there is no axis 4 in shape [3]"),
        ("opcode", "does not know operation 999"),
        ("arity", "add([3]): takes 2 tensors, got 1"),
        ("result", "the loss has shape [2, 2, 2]; with 3 rows it may be [3], [3,T] or []"),
        ("index", "index([3], [1]): the index 50 is outside 0 ..< 3"),
        ("read_column", "`column` cannot be used in `loss`"),
        ("put", "`put` belongs to `prepare` and `score`, not to `loss`"),
        ("grad", "without the flag KEEL_EXPLICIT_GRAD"),
        ("fail", "error[plugin]: objective \"zoo_bad\": I will not\n"),
    ]

    private var three: ColumnBatch {
        var batch = ColumnBatch(rows: 3)
        batch.columns["seq_logprobs"] = Column([-1, -2, -3])
        return batch
    }

    @Test(arguments: misdeeds) func misdeedsAreReportedByName(
        _ what: String, _ expected: String
    ) throws {
        let objective = try Zoo.objective("zoo_bad", ["what": .string(what)])
        let text = message { _ = try objective.evaluate(three, context: CallContext(step: 12)) }
        #expect(text.contains(expected), "\(text)")
        #expect(text.contains(", loss, step 12"))
    }

    @Test func aTensorOfAnEarlierCallIsCaught() throws {
        let objective = try Zoo.objective("zoo_bad", ["what": "stale"])
        _ = message { _ = try objective.evaluate(three, context: context) }
        let text = message { _ = try objective.evaluate(three, context: context) }
        #expect(text.contains("uses a tensor of another call"), "\(text)")
    }

    @Test func aMissingColumnIsAnErrorWhenAskedFor() throws {
        let objective = try Zoo.objective("zoo_dpo")
        var batch = pairs()
        batch.columns["chosen.ref_logprobs"] = nil
        let text = message { _ = try objective.evaluate(batch, context: context) }
        #expect(
            text.contains(
                "the column \"chosen.ref_seq_logprobs\" is not there; the batch has chosen.logprobs"
            ), "\(text)")
    }

    @Test func anUnknownPhaseIsRefused() throws {
        let objective = try Zoo.objective("zoo_dpo")
        let text = message {
            _ = try objective.evaluate(pairs(), context: CallContext(phase: "polcy"))
        }
        #expect(
            text.contains("has no phase \"polcy\"") && text.contains("did you mean \"policy\"?"))
    }
}
