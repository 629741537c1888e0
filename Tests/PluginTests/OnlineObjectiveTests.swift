import Foundation
import KeelBridge
import KeelCore
import KeelTensor
import Testing

/// Six responses to two prompts, up to four tokens, with all columns that online objectives may read.
private struct Responses {
    var columns: [(String, [Int], [Double])]

    init(rewards: [Double] = [1, 0, 2, -1, 0.5, 0.5], seed: UInt64 = 11) {
        let stream = RandomStream(seed: seed, place: "online objectives")
        var place: UInt64 = 0
        func cells(_ range: ClosedRange<Double>) -> [Double] {
            (0..<24).map { _ in
                place += 1
                return range.lowerBound
                    + (range.upperBound - range.lowerBound) * stream.uniform(place)
            }
        }
        let logprobs = cells(-3 ... -0.2)
        let near = { (width: Double) in zip(logprobs, cells(-width...width)).map(+) }
        let lengths = [4, 3, 1, 2, 4, 3]
        let mask = lengths.flatMap { n in (0..<4).map { $0 < n ? 1.0 : 0 } }
        columns = [
            ("logprobs", [6, 4], logprobs), ("old_logprobs", [6, 4], near(0.3)),
            ("ref_logprobs", [6, 4], near(0.5)), ("behavior_logprobs", [6, 4], near(0.4)),
            ("values", [6, 4], cells(-1...1)), ("old_values", [6, 4], cells(-1...1)),
            ("entropy", [6, 4], cells(0.5...2)), ("mask", [6, 4], mask),
            ("rewards", [6], rewards), ("group", [6], [0, 0, 0, 1, 1, 1]),
            ("finished", [6], [0, 1, 1, 1, 0, 1]),
            ("bootstrap_values", [6], [0.7, 9, 9, 9, -0.4, 9]),
            ("greedy_rewards", [6], [0.5, 0.5, 0.5, -0.5, -0.5, -0.5]),
        ]
    }

    func cells(_ name: String) -> [Double] { columns.first { $0.0 == name }?.2 ?? [] }

    func eval(_ plugin: String, _ params: JSONObject, _ more: JSONObject = [:]) throws -> JSON {
        try Workbench.eval(
            plugin, Workbench.request(rows: 6, params: params, columns: columns, more: more))
    }

    /// The batch as a run hands it over.
    var batch: ColumnBatch {
        var batch = ColumnBatch(rows: 6)
        for (name, shape, cells) in columns { batch.columns[name] = Column(shape: shape, cells) }
        return batch
    }
}

/// An instance as a run has it, for what lasts from roll-out to roll-out.
private func instance(
    _ plugin: String, _ params: JSONObject, facts: [String: Double] = [:]
) throws -> ObjectiveInstance {
    let component = try Workbench.catalog.find(
        "\(Workbench.products)/libkeel-\(plugin).so#\(plugin)", kind: nil)
    return try ObjectiveInstance(
        component, catalog: Workbench.catalog, parameters: try component.validate(params: params),
        device: Device.cpu(threads: 1), precision: .f64, context: CallContext(facts: facts))
}

private func metric(_ sums: MetricSums, _ name: String) -> Double {
    sums.values.first { $0.name == name }?.value ?? .nan
}

/// Every term of every loss: its gradient is that of central differences in f64.
struct OnlineGradientTests {
    static let cases: [(String, JSONObject)] = [
        ("ppo", [:]), ("ppo", ["policy_kl_coef": 0.3, "clip_range": 0, "clip_range_high": 0]),
        ("ppo", ["ref_kl_coef": 0.2]), ("ppo", ["ref_kl_coef": 0.2, "kl_in_loss": "k3"]),
        ("ppo", ["dual_clip": 1.1, "ent_coef": 0.1, "sampler_correction": "token_truncate"]),
        ("ppo_max", [:]), ("ppo_max", ["importance_sampling": true, "advantage_clip": 0.3]),
        ("ppo_max", ["ent_coef": 0.05, "entropy_clip": 35]),
        ("reinforce", ["returns": "to_go", "whiten_advantages": true]),
        ("reinforce", ["baseline": "greedy", "clip_range": 0.2, "ent_coef": 0.1]),
        ("grpo", ["kl_coef": 0.2]), ("grpo", ["kl_coef": 0.2, "use_bias_correction_kl": true]),
        ("grpo", ["importance_level": "sequence", "kl_coef": 0.1, "kl_in_loss": "k2"]),
        ("grpo", ["loss_type": "sapo", "off_policy_mask_threshold": 0.05]),
        ("grpo", ["delta": 1.05, "sampler_correction": "seq_mask_tis"]),
        ("grpo", ["top_entropy_quantile": 0.5]), ("online_dpo", [:]),
        ("online_dpo", ["loss_type": "ipo"]),
    ]

    @Test(arguments: cases.indices) func equalsCentralDifferences(_ number: Int) throws {
        let (plugin, params) = OnlineGradientTests.cases[number]
        var base = Responses()
        // Advantages stay those of the point: they are constants of the update.
        let answer = try base.eval(plugin, params)
        for (name, column) in try #require(answer["columns"]?.object) {
            base.columns.append(
                (name, (column["shape"]?.array ?? []).compactMap(\.int), column.cells))
        }
        for name in plugin.hasPrefix("ppo") ? ["logprobs", "values"] : ["logprobs"] {
            let gradient = try answer.at("grads.\(name)").cells
            let at = try #require(base.columns.firstIndex { $0.0 == name })
            for cell in stride(from: 0, to: 24, by: 5) {
                func value(_ step: Double) throws -> Double {
                    var moved = base
                    moved.columns[at].2[cell] += step
                    return try moved.eval(plugin, params, ["prepare": false]).at("loss").cells[0]
                }
                let slope = (try value(1e-5) - value(-1e-5)) / 2e-5
                expectClose(
                    [gradient[cell]], [slope], rtol: 1e-6, atol: 1e-8,
                    "\(plugin) \(JSON.object(params).text()) \(name) \(cell)")
            }
        }
    }
}

struct PPOTests {
    @Test(arguments: ["ppo", "ppo_max"]) func truncatedResponsesGoOn(_ plugin: String) throws {
        let params: JSONObject = [
            "kl_coef": 0, "lam": 1, "whiten_advantages": false, "bootstrap_truncated": true,
        ]
        var more = params
        if plugin == "ppo_max" {
            more["reward_scaling"] = "none"
            more["reward_clip"] = 0
        }
        let answer = try Responses().eval(plugin, more)
        // With λ = γ = 1 the return of a token is all that follows: the score, and the value where it was cut.
        let returns = try answer.at("columns.returns").cells
        let want = [1 + 0.7, 0, 2, -1, 0.5 - 0.4, 0.5]
        expectClose(
            (0..<6).map { returns[4 * $0] }, want, rtol: 1e-12, atol: 1e-12, "returns")
    }

    @Test func theAdaptiveControllerMovesFromRollOutToRollOut() throws {
        let params: JSONObject = [
            "kl_control": "adaptive", "kl_coef": 0.1, "kl_target": 0.01, "kl_horizon": 60,
        ]
        let first = try instance("ppo", params)
        var batch = Responses().batch
        let kl = metric(try first.prepare(&batch, context: CallContext()), "objective/kl")
        let want = 0.1 * (1 + min(max(kl / 0.01 - 1, -0.2), 0.2) * 6 / 60)
        #expect(abs(want - 0.1) > 1e-4)
        // What was saved goes on as if nothing had happened.
        let second = try instance("ppo", params)
        try second.load(try #require(try first.save()))
        for objective in [first, second] {
            var batch = Responses().batch
            let sums = try objective.prepare(&batch, context: CallContext())
            expectClose(
                [metric(sums, "objective/kl_coef")], [want], rtol: 1e-14, atol: 0, "kl_coef")
        }
    }

    @Test(arguments: [(1e-6, 2.0), (1e3, 0.5)])
    func thePenaltyFollowsItsTarget(_ target: Double, _ factor: Double) throws {
        let objective = try instance(
            "ppo", ["policy_kl_coef": 0.3, "policy_kl_target": .double(target), "kl_coef": 0])
        var batch = Responses().batch
        try objective.prepare(&batch, context: CallContext())
        for step in 0..<2 {
            let sums = try objective.evaluate(batch, context: CallContext(step: step)).metrics
            #expect(metric(sums, "policy/kl_to_old_coef") == 0.3)
        }
        try objective.prepare(&batch, context: CallContext(step: 2))
        let sums = try objective.evaluate(batch, context: CallContext(step: 2)).metrics
        expectClose(
            [metric(sums, "policy/kl_to_old_coef")], [0.3 * factor], rtol: 1e-14, atol: 0, "coef")
    }

    @Test func aHorizonShorterThanARollOutIsRefused() throws {
        let error = #expect(throws: (any Error).self) {
            try instance(
                "ppo", ["kl_control": "adaptive", "kl_horizon": 10], facts: ["rollout_rows": 64])
        }
        #expect("\(try #require(error))".contains("kl_horizon 10.0 is too short"))
    }

    @Test func aDroppedRowIsInNoStatistic() throws {
        var batch = Responses(rewards: [1, .nan, 2, -1, 0.5, 0.5])
        batch.columns.append(("weight", [6], [1, 0, 1, 1, 1, 1]))
        let answer = try batch.eval("ppo", ["kl_coef": 0])
        let advantages = try answer.at("columns.advantages").cells
        let live = zip(advantages, batch.cells("mask")).enumerated().filter {
            $1.1 != 0 && $0 / 4 != 1
        }.map(\.element.0)
        #expect(advantages[4..<8].allSatisfy { $0 == 0 })
        expectClose([live.reduce(0, +)], [0], rtol: 0, atol: 1e-12, "mean")
        expectClose(
            [try answer.at("metrics.objective/scores").cells[0]], [0.6], rtol: 1e-14, atol: 0,
            "scores")
    }

    /// The papers' two recipes: (score - mean) / std held at 0.8 with β 0.05; score / std with β 0.01.
    @Test(arguments: [("ppo-max", 0.05), ("ppo-max-released", 0.01)])
    func presets(_ preset: String, _ beta: Double) throws {
        let rewards = [1, 0, 2, -1, 0.5, 0.5]
        let answer = try Responses().eval("ppo_max", ["preset": .string(preset)])
        expectClose(
            try answer.at("metrics.objective/kl_coef").cells, [beta], rtol: 0, atol: 0, "kl_coef")
        let mean = rewards.reduce(0, +) / 6
        let std = (rewards.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / 5).squareRoot()
        let scores =
            preset == "ppo-max"
            ? rewards.map { min(max(($0 - mean) / std, -0.8), 0.8) } : rewards.map { $0 / std }
        expectClose(
            try answer.at("metrics.objective/scores").cells, [scores.reduce(0, +) / 6],
            rtol: 1e-12, atol: 1e-12, "scores")
        // An explicit parameter goes before the preset's.
        let own = try Responses().eval(
            "ppo_max", ["preset": .string(preset), "kl_coef": 0.2, "reward_clip": 0.1])
        expectClose(
            try own.at("metrics.objective/kl_coef").cells, [0.2], rtol: 0, atol: 0, "kl_coef")
        expectClose(
            try own.at("metrics.reward_clip/fraction").cells,
            [preset == "ppo-max" ? 4.0 / 6 : 5.0 / 6], rtol: 1e-12, atol: 0, "clipped")
    }

    @Test func momentsLiveOnInACheckpoint() throws {
        let first = try instance("ppo_max", [:])
        var batch = Responses().batch
        try first.prepare(&batch, context: CallContext())
        let second = try instance("ppo_max", [:])
        try second.load(try #require(try first.save()))
        var (a, b) = (Responses(rewards: [3, 2, 1, 0, 7, 1]).batch, ColumnBatch(rows: 0))
        b = a
        try first.prepare(&a, context: CallContext(step: 1))
        try second.prepare(&b, context: CallContext(step: 1))
        #expect(a.columns["returns"] == b.columns["returns"])
        var fresh = Responses(rewards: [3, 2, 1, 0, 7, 1]).batch
        try instance("ppo_max", [:]).prepare(&fresh, context: CallContext())
        #expect(a.columns["returns"] != fresh.columns["returns"])
    }

    @Test func theCriticPhaseTrainsValuesAlone() throws {
        let answer = try Responses().eval("ppo", [:], ["phase": "critic"])
        #expect(try answer.at("grads.logprobs").cells.allSatisfy { $0 == 0 })
        #expect(try answer.at("grads.values").cells.contains { $0 != 0 })
    }
}

struct ReinforceTests {
    private func advantages(_ params: JSONObject) throws -> [Double] {
        var params = params
        params["kl_coef"] = 0
        return try Responses().eval("reinforce", params).at("columns.advantages").cells
    }

    @Test func reMaxSubtractsTheGreedyReward() throws {
        expectClose(
            try advantages(["baseline": "greedy"]), [0.5, -0.5, 1.5, -0.5, 1, 1], rtol: 1e-14,
            atol: 0, "advantages")
    }

    @Test func opoWeighsByLength() throws {
        // (4·1 + 3·0 + 1·2) / 8 and (2·(-1) + 4·½ + 3·½) / 9
        let (a, b) = (6.0 / 8, 1.5 / 9)
        expectClose(
            try advantages(["baseline": "length_weighted"]),
            [1 - a, -a, 2 - a, -1 - b, 0.5 - b, 0.5 - b], rtol: 1e-12, atol: 1e-14, "advantages")
    }

    @Test func reinforcePlusPlusWhitensOverTokens() throws {
        let given = Responses()
        let cells = try advantages(["baseline": "group_mean", "whiten_advantages": true])
        let real = zip(cells, given.cells("mask")).filter { $1 != 0 }.map(\.0)
        let mean = real.reduce(0, +) / Double(real.count)
        let variance = real.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(real.count)
        expectClose([mean, variance], [0, 1], rtol: 1e-6, atol: 1e-12, "mean and variance")
        #expect(cells[0] == cells[3])
    }

    @Test func theMovingAverageIsUsedBeforeItMoves() throws {
        let objective = try instance(
            "reinforce",
            ["kl_coef": 0, "baseline": "moving_average", "baseline_init": 1, "baseline_decay": 0.5])
        var batch = Responses().batch
        let first = try objective.prepare(&batch, context: CallContext())
        let second = try objective.prepare(&batch, context: CallContext(step: 1))
        expectClose(
            [metric(first, "baseline"), metric(second, "baseline")], [1, 0.75], rtol: 1e-14,
            atol: 0, "baseline")
    }
}

struct GRPOTests {
    @Test func truncatedResponsesMayBeLeftOut() throws {
        let answer = try Responses().eval("grpo", ["mask_truncated_completions": true])
        expectClose(
            try answer.at("columns.weight").cells, [0, 1, 1, 1, 0, 1], rtol: 0, atol: 0, "weight")
        let gradient = try answer.at("grads.logprobs").cells
        #expect(gradient[0..<4].allSatisfy { $0 == 0 } && gradient[4] != 0)
    }

    @Test func onlyTheTokensOfHighestEntropyAreTrained() throws {
        let given = Responses()
        let gradient = try given.eval("grpo", ["top_entropy_quantile": 0.25])
            .at("grads.logprobs").cells
        let trained = gradient.indices.filter { gradient[$0] != 0 }
        let real = zip(given.cells("entropy"), given.cells("mask")).filter { $1 != 0 }.map(\.0)
        let bar = real.sorted()[real.count - 5]
        #expect(!trained.isEmpty)
        #expect(trained.allSatisfy { given.cells("entropy")[$0] >= bar })
    }

    @Test(arguments: [("grpo", Reduction.rowMeanOfTokenMean), ("dapo", .tokenMean)])
    func theTypeChoosesTheAverage(_ type: String, _ want: Reduction) throws {
        #expect(try instance("grpo", ["loss_type": .string(type)]).reduction() == want)
    }

    @Test func drGRPODividesByTheLongestPossibleLength() throws {
        let facts = ["rows_per_step": 6.0, "max_completion_length": 100]
        let objective = try instance("grpo", ["loss_type": "dr_grpo"], facts: facts)
        #expect(objective.reduction() == .constant)
        #expect(objective.reductionConstant == 600)
    }

    @Test(arguments: ["grpo", "online_dpo"]) func aGroupOfOneIsRefused(_ plugin: String) throws {
        var given = Responses()
        given.columns[9].2 = [0, 1, 2, 3, 4, 5]
        let error = #expect(throws: (any Error).self) { try given.eval(plugin, [:]) }
        #expect("\(try #require(error))".contains("num_generations"))
    }
}

struct OnlineDPOTests {
    @Test func bestAgainstWorstOfEachPrompt() throws {
        let answer = try Responses().eval("online_dpo", [:])
        expectClose(
            try answer.at("columns.pair_role").cells, [0, -1, 1, -1, 1, 0], rtol: 0, atol: 0,
            "roles")
        let gradient = try answer.at("grads.logprobs").cells
        #expect(gradient[0..<4].allSatisfy { $0 == 0 })
        #expect(gradient[8] < 0 && gradient[4] > 0)
    }

    @Test func aTieTeachesNothing() throws {
        let answer = try Responses(rewards: [1, 1, 1, -1, 0.5, 0.5]).eval("online_dpo", [:])
        expectClose(
            try answer.at("metrics.pairs/tied").cells, [0.5], rtol: 0, atol: 0, "tied")
        #expect(try answer.at("grads.logprobs").cells[0..<12].allSatisfy { $0 == 0 })
    }

    @Test(arguments: [(0.5, 0.1), (1.5, 0.3), (9, 0.3)])
    func betaByEpoch(_ epoch: Double, _ beta: Double) throws {
        let answer = try Responses().eval(
            "online_dpo", ["beta": [0.1, 0.3]], ["epoch": .double(epoch)])
        expectClose(try answer.at("metrics.beta").cells, [beta], rtol: 0, atol: 0, "beta")
    }

    @Test func badBetasAreRefused() throws {
        let error = #expect(throws: (any Error).self) {
            try Responses().eval("online_dpo", ["beta": [0.1, "x"]])
        }
        #expect("\(try #require(error))".contains("beta is"))
    }
}
