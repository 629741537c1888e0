import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor
import KeelTestSupport
import Testing

@testable import KeelHost

/// Every differentiable column, through whole models: the gradient of a run's loss by every parameter.
@Suite struct ColumnGradientTests {
    private func updates(
        _ name: String, phase: String = "policy", params: JSONObject = [:], splits: [Int],
        dropout: Double = 0, facts: [String: Double] = [:]
    ) throws -> (PolicyUpdate, [PolicyUpdate]) {
        let objective = try PhaseBench.objective(name, params)
        let networks = try PhaseBench.networks(objective)
        let all = try ([100] + splits).map {
            try PhaseBench.update(
                objective, networks, phase: phase, microBatchRows: $0, facts: facts)
        }
        return (all[0], Array(all.dropFirst()))
    }

    /// log p, entropy and the mean log-prob over the vocabulary, in one loss.
    @Test func entropyAndVocabulary() throws {
        let (update, splits) = try updates("bonus", splits: [1, 3])
        let rows = PhaseBench.rows(5)
        try PhaseBench.expectGradients(
            update, rows: rows, columns: .tokens(of: rows, prefixes: [""]), splits: splits)
    }

    /// A value per token on the policy's states: trunk and head are trained together.
    @Test func valuesOfThePolicy() throws {
        let (update, splits) = try updates("token_values", splits: [1, 2])
        #expect(update.trainers.map(\.part) == [.policy, .valueHead])
        let rows = PhaseBench.rows(5)
        try PhaseBench.expectGradients(
            update, rows: rows, columns: .tokens(of: rows, prefixes: [""]), splits: splits)
    }

    /// Scores at the last token of both sides of a pair, which share their prompt.
    @Test(arguments: ["rank", "rank_and_write"])
    func scoresOfPairs(name: String) throws {
        let (update, splits) = try updates(name, splits: [1, 2])
        #expect(update.trainers.map(\.part) == [.policy, .rewardHead])
        let rows = PhaseBench.rows(5, sides: 2)
        try PhaseBench.expectGradients(
            update, rows: rows, columns: .tokens(of: rows, prefixes: ["chosen.", "rejected."]),
            splits: splits)
    }

    /// Ranked lists of different lengths: sums, means and scores of their candidates.
    @Test(arguments: ["listed", "listed_scores"])
    func candidatesOfRankedLists(name: String) throws {
        let (update, splits) = try updates(name, splits: [1, 2])
        let rows = try rankedRows()
        let columns = rows.columns(of: Array(0..<rows.count), update.sides)
        #expect(columns.columns["valid"]?.values == [1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0])
        #expect(columns.columns["rank"]?.values == [0, 1, 2, 0, 0, 0, 0, 1, 1, 0, 1, 0])
        try PhaseBench.expectGradients(
            update, rows: Array(rows.rows), columns: columns, splits: splits)
    }

    /// A list of two is a pair: the same sums, whatever the shape of the columns.
    @Test func listsOfTwoArePairs() throws {
        let listed = try PhaseBench.objective("listed")
        let networks = try PhaseBench.networks(listed)
        let update = try PhaseBench.update(listed, networks)
        let rows = PhaseBench.rows(4, sides: 2)
        let pass = try networks.pass(rows, .logprobs, tape: Tape(recording: false))
        var (pairs, lists) = (
            ColumnBatch.tokens(of: rows, Sides(dataKind: "pairs")),
            ColumnBatch.tokens(of: rows, update.sides)
        )
        pass.add(to: &pairs, Sides(dataKind: "pairs"))
        pass.add(to: &lists, update.sides)
        for name in ["seq_logprobs", "mean_logprobs"] {
            let sides = try ["chosen.", "rejected."].map {
                try #require(pairs.column($0 + name)).values
            }
            #expect(
                try #require(lists.columns[name]).values
                    == zip(sides[0], sides[1]).flatMap { [$0, $1] })
        }
    }

    private func rankedRows() throws -> OfflineRows {
        let counts = [3, 2, 3, 2]
        let all = PhaseBench.rows(4, sides: 3)
        let rows = zip(all, counts).map { row, count in
            var row = row
            row.completions = Array(row.completions.prefix(count))
            return row
        }
        let rewards = [[1.5, 0.5, -1], [0.25, 0.25], [2, -0.5, -0.5], [1, 0]]
        return OfflineRows(
            rows: TokenizedRows(rows),
            values: DatasetValues(rewards.map { RowValues(rewards: $0) }), raw: { _ in .null })
    }

    /// The score of a completion does not depend on the packing: it is that of the whole text.
    @Test func scoresAreThoseOfTheWholeText() throws {
        let (update, _) = try updates("rank", splits: [])
        let rows = PhaseBench.rows(4, sides: 2)
        let pass = try update.networks.pass(rows, .scores, tape: Tape(recording: false))
        let alone = try update.networks.policy.scores(
            rows.flatMap { row in row.completions.map { row.prompt + $0 } },
            tape: Tape(recording: false))
        expectClose(
            try #require(pass.outputs.first).tensor.doubles(), alone.doubles(),
            Tolerance(relative: 1e-12, absolute: 1e-12))
    }

    /// One query over the prompt's frozen states; the policy has no part in it.
    @Test func valuesOfPrompts() throws {
        let objective = try PhaseBench.objective("two_phases")
        let networks = try PhaseBench.networks(objective)
        let rows = PhaseBench.rows(5, sides: 2)
        var columns = ColumnBatch.tokens(of: rows, prefixes: ["chosen.", "rejected."])
        columns.columns["margin"] = Column([0.5, 1, 0.2, 1.9, 0])
        let all = try [100, 1, 2].map {
            try PhaseBench.update(objective, networks, phase: "value", microBatchRows: $0)
        }
        #expect(all[0].trainers.map(\.part) == [.valueHead])
        // Dropout is drawn by row: the split into micro-batches leaves it alone.
        try expectSameUnderDropout(all, rows, columns)
        // Without it, differences.
        let plain = try plainUpdate(objective, networks)
        try PhaseBench.expectGradients(plain, rows: rows, columns: columns)
    }

    private func expectSameUnderDropout(
        _ updates: [PolicyUpdate], _ rows: [TokenizedRow], _ columns: ColumnBatch
    ) throws {
        func run(_ update: PolicyUpdate, step: Int) throws -> (Double, [[Double]]) {
            update.networks.zeroGradients()
            let loss = try update.evaluate(
                rows: rows, columns: columns, isTraining: true,
                context: update.context(step: step, epoch: 0)
            ).loss
            return (loss, update.trainers[0].optimizer.parameters.map { $0.gradient.doubles() })
        }
        let whole = try run(updates[0], step: 1)
        for split in updates.dropFirst() {
            let parts = try run(split, step: 1)
            expectClose([parts.0], [whole.0], Tolerance(relative: 1e-12, absolute: 1e-12))
            for (a, b) in zip(parts.1, whole.1) {
                expectClose(a, b, Tolerance(relative: 1e-9, absolute: 1e-12))
            }
        }
        #expect(try run(updates[0], step: 2).0 != whole.0)
        let still = try updates[0].evaluate(
            rows: rows, columns: columns, isTraining: false,
            context: updates[0].context(step: 1, epoch: 0)
        ).loss
        #expect(still != whole.0)
    }

    private func plainUpdate(
        _ objective: ObjectiveInstance, _ networks: Networks
    ) throws -> PolicyUpdate {
        var settings = ValueHead.Settings()
        settings.maxValue = 2
        settings.dropout = 0
        let head = try ValueHead(
            .attentionPool, hiddenSize: 16, settings: settings, seed: 5, dtype: .f64,
            device: PhaseBench.device)
        return try PhaseBench.update(
            objective,
            Networks(
                policy: networks.policy, valueHead: head, reference: networks.reference, seed: 9),
            phase: "value")
    }

    /// Policy and critic: two models, one loss, with constants from `prepare`.
    @Test func policyAndCritic() throws {
        let (update, splits) = try updates("actor_critic", splits: [1, 4])
        #expect(update.trainers.map(\.part) == [.policy, .critic])
        let rows = PhaseBench.rows(6, group: 2)
        var columns = ColumnBatch.tokens(of: rows, prefixes: [""])
        columns.columns["rewards"] = Column([0.5, -1, 0.2, 1.9, 0, 0.3])
        columns.columns["old_values"] = try update.constants("values", of: rows)
        let old = try #require(try update.constants("logprobs", of: rows))
        columns.columns["old_logprobs"] = Column(shape: old.shape, old.values.map { $0 + 0.05 })
        try update.objective.prepare(&columns, context: update.context(step: 0, epoch: 0))
        try PhaseBench.expectGradients(update, rows: rows, columns: columns, splits: splits)
    }

    /// One loss per group: groups stay whole in every micro-batch.
    @Test func wholeGroups() throws {
        let facts = ["num_generations": 3.0]
        let (update, splits) = try updates("grouped", splits: [1, 4, 7], facts: facts)
        let rows = PhaseBench.rows(12, group: 3)
        var columns = ColumnBatch.tokens(of: rows, prefixes: [""])
        columns.columns["rewards"] = Column((0..<12).map { Double($0 % 5) - 4 })
        columns.columns["group"] = Column(ints: (0..<12).map { Int32($0 / 3) })
        #expect(splits[0].microBatches(columns) == [0..<3, 3..<6, 6..<9, 9..<12])
        #expect(splits[1].microBatches(columns) == [0..<3, 3..<6, 6..<9, 9..<12])
        #expect(splits[2].microBatches(columns) == [0..<6, 6..<12])
        #expect(update.microBatches(columns) == [0..<12])
        try PhaseBench.expectGradients(update, rows: rows, columns: columns, splits: splits)
        columns.columns["group"] = nil
        #expect(splits[0].microBatches(columns) == [0..<12])
    }

    /// A gradient that the plugin gives itself trains as the one that operations record.
    @Test func explicitGradients() throws {
        let (update, splits) = try updates("explicit_nll", splits: [1, 2])
        let rows = PhaseBench.rows(5)
        let columns = ColumnBatch.tokens(of: rows, prefixes: [""])
        try PhaseBench.expectGradients(update, rows: rows, columns: columns, splits: splits)
        let (other, _) = try updates("nll", splits: [])
        func gradients(_ update: PolicyUpdate) throws -> [[Double]] {
            update.networks.zeroGradients()
            _ = try update.evaluate(
                rows: rows, columns: columns, isTraining: true,
                context: update.context(step: 0, epoch: 0))
            return update.networks.policy.parameters.map { $0.gradient.doubles() }
        }
        for (a, b) in zip(try gradients(update), try gradients(other)) {
            expectClose(a, b, Tolerance(relative: 1e-12, absolute: 1e-13))
        }
    }

    /// A step that would not be finite moves none of the models.
    @Test func nothingMovesWhenOneGradientIsNotFinite() throws {
        let (update, _) = try updates("actor_critic", splits: [])
        let rows = PhaseBench.rows(2)
        var columns = ColumnBatch.tokens(of: rows, prefixes: [""])
        let cells = columns.columns["mask"].map { $0.count } ?? 0
        let shape = columns.columns["mask"]?.shape ?? []
        for name in ["old_logprobs", "advantages"] {
            columns.columns[name] = Column(shape: shape, [Double](repeating: 0, count: cells))
        }
        // Squares of it overflow where they flow back, not in the loss.
        columns.columns["returns"] = Column(
            shape: shape, [Double](repeating: 1e154, count: cells))
        let before = update.networks.policy.parameters.map { $0.master.bytes() }
        let error = #expect(throws: KeelError.self) {
            _ = try update.run(
                rows: rows, columns: columns, rates: [0.1, 0.1],
                context: update.context(step: 0, epoch: 0))
        }
        #expect(error?.what.hasPrefix("the ") == true)
        #expect(update.networks.policy.parameters.map { $0.master.bytes() } == before)
        #expect(update.trainers.allSatisfy { $0.optimizer.stepCount == 0 })
    }
}
