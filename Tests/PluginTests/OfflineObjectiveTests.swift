import Foundation
import KeelCore
import Testing

/// Numbers in a range, the same for the same seed.
private func numbers(
    _ count: Int, _ seed: UInt64, _ range: ClosedRange<Double> = -3 ... -0.01
) -> [Double] {
    let stream = RandomStream(seed: seed, place: "offline objective tests")
    return (0..<count).map {
        range.lowerBound + (range.upperBound - range.lowerBound) * stream.uniform(UInt64($0))
    }
}

private typealias Columns = [(String, [Int], [Double])]

/// An objective of rows, of a batch of three responses with up to five tokens.
struct RowObjective: CustomTestStringConvertible, Sendable {
    let name: String
    var params = JSONObject()
    /// Rewards, values, labels: what the rows carry.
    var cells: [(String, [Double])] = []
    /// The loss of a row when the policy is the reference, of its sum S of log-probs and its tokens.
    let atStart: @Sendable (_ row: Int, _ logprobs: [Double]) -> Double

    var testDescription: String { "\(name) \(JSON.object(params).text())" }

    static let mask: [Double] = [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    static let rewards = [0.9, 0.2, 0.6]
    static let values = [0.4, 0.5, 0.5]

    fileprivate func columns(
        _ policy: [Double], ref: [Double], old: [Double]? = nil, width: Int = 5,
        mask: [Double] = mask
    ) -> [(String, [Int], [Double])] {
        let shape = [3, width]
        return [
            ("logprobs", shape, policy), ("ref_logprobs", shape, ref),
            ("old_logprobs", shape, old ?? ref), ("mask", shape, mask),
            ("mismatched.logprobs", shape, policy), ("mismatched.ref_logprobs", shape, ref),
            ("mismatched.mask", shape, mask),
        ] + cells.map { ($0.0, [3], $0.1) }
    }

    private static let advantages: [Double] = zip(rewards, values).map { max(0, $0 - $1) }
    private static let scored = [("rewards", rewards), ("seq_values", values)]
    private static let sum: @Sendable ([Double]) -> Double = { $0.reduce(0, +) }

    static let all: [RowObjective] = [
        RowObjective(name: "alol", params: unfiltered, cells: scored) {
            -advantages[$0] * sum($1)
        },
        RowObjective(name: "alol", params: unclipped, cells: scored) { -advantages[$0] * sum($1) },
        RowObjective(name: "alol_seq", params: unfiltered, cells: scored) {
            -advantages[$0] * sum($1)
        },
        RowObjective(name: "alol_ref_free", params: unfiltered, cells: scored) {
            -advantages[$0] * sum($1)
        },
        RowObjective(name: "alol_kl", params: unfiltered, cells: scored) {
            -advantages[$0] * sum($1)
        },
        RowObjective(name: "rlol", cells: [("rewards", rewards)]) { -rewards[$0] * sum($1) },
        RowObjective(name: "rlol", params: ["kl_coef": 0.3], cells: [("rewards", rewards)]) {
            -rewards[$0] * sum($1)
        },
        RowObjective(name: "wbc", cells: [("rewards", rewards)]) { -rewards[$0] * sum($1) },
        RowObjective(name: "rgold", cells: [("rewards", rewards)]) { row, logprobs in
            -rewards[row] * sum(logprobs.map { max(exp($0), 0.1) * $0 })
        },
        RowObjective(name: "gold", params: ["variant": "delta"]) { _, logprobs in
            -sum(logprobs.map { max(exp($0), 0.1) * $0 })
        },
        RowObjective(name: "gold", params: ["variant": "s", "suffix_num": 1, "gamma": 0.5]) {
            _, logprobs in
            let next = logprobs.dropFirst() + [0]
            return -sum(
                zip(logprobs, next).map { max(exp($0), 0.1) * (exp($0) + 0.5 * exp($1)) * $0 })
        },
        RowObjective(
            name: "gold", params: ["variant": "p", "suffix_num": 0, "iw_min": 0, "trunc_min": 1]
        ) { _, logprobs in
            -sum(logprobs.map { exp($0) * max(1, log(exp($0) + 1e-10) + 10) * $0 })
        },
        RowObjective(name: "kto", params: ["undesirable_weight": 1.5], cells: labels) { row, _ in
            row == 1 ? 0.75 : 0.5
        },
        RowObjective(name: "kto", params: ["loss_type": "apo_zero_unpaired"], cells: labels) {
            _, _ in 0.5
        },
    ]

    private static let unfiltered: JSONObject = ["advantage_filter": "none"]
    private static let unclipped: JSONObject = ["advantage_filter": "none", "clip_range": 0]
    private static let labels = [("label", [1.0, 0, 1])]
}

struct OfflineRowTests {
    private func eval(
        _ objective: RowObjective, _ columns: [(String, [Int], [Double])], grad: Bool = true
    ) throws -> JSON {
        let isALOL = objective.name.hasPrefix("alol")
        return try Workbench.eval(
            objective.name,
            Workbench.request(
                rows: 3, params: objective.params, columns: columns,
                more: isALOL ? ["phase": "policy"] : JSONObject()))
    }

    /// Where the policy is still the reference, ratios are 1 and z0 is 0: the losses are those of the formula by hand.
    @Test(arguments: RowObjective.all) func startsAsItsFormulaSays(
        _ objective: RowObjective
    ) throws {
        let same = numbers(15, 1)
        let answer = try eval(objective, objective.columns(same, ref: same))
        let rows = (0..<3).map { row in
            (row * 5..<row * 5 + 5).filter { RowObjective.mask[$0] != 0 }.map { same[$0] }
        }
        expectClose(
            try answer.at("per_row").cells, (0..<3).map { objective.atStart($0, rows[$0]) },
            rtol: 1e-12, atol: 1e-14, objective.testDescription)
        for name in ["alol/ratio_mean", "alol/ratio_max", "alol/ratio_min"] {
            guard let value = answer["metrics"]?[name] else { continue }
            expectClose(value.cells, [1], rtol: 0, atol: 0, name)
        }
    }

    @Test(arguments: RowObjective.all) func paddingChangesNothing(
        _ objective: RowObjective
    ) throws {
        let (policy, ref) = (numbers(15, 2), numbers(15, 3))
        func widened(_ cells: [Double], _ filling: [Double]) -> [Double] {
            (0..<3).flatMap { Array(cells[$0 * 5..<$0 * 5 + 5]) + filling }
        }
        let narrow = try eval(objective, objective.columns(policy, ref: ref))
        let wide = try eval(
            objective,
            objective.columns(
                widened(policy, [-1.25, .nan]), ref: widened(ref, [7, .nan]), width: 7,
                mask: widened(RowObjective.mask, [0, 0])))
        expectClose(
            try wide.at("per_row").cells, try narrow.at("per_row").cells, rtol: 1e-13, atol: 1e-15,
            objective.testDescription)
        let gradient = try wide.at("grads.logprobs").cells
        expectClose(
            gradient.enumerated().filter { $0.offset % 7 < 5 }.map(\.element),
            try narrow.at("grads.logprobs").cells, rtol: 1e-13, atol: 1e-15, "gradient")
    }

    @Test(arguments: RowObjective.all) func farFromTheReferenceItStaysFinite(
        _ objective: RowObjective
    ) throws {
        for (policy, ref) in [(-1e4, -0.01), (-0.01, -1e4), (-1e4, -1e4), (0, 0)] {
            let answer = try eval(
                objective,
                objective.columns(
                    [Double](repeating: policy, count: 15),
                    ref: [Double](repeating: ref, count: 15)))
            let cells = try answer.at("loss").cells + answer.at("grads.logprobs").cells
            #expect(cells.allSatisfy { $0.isFinite }, "\(objective) at \(policy), \(ref)")
        }
    }

    @Test func aClippedRowKeepsItsGradient() throws {
        let objective = RowObjective.all[0]
        let (policy, ref) = (
            [Double](repeating: -1, count: 15), [Double](repeating: -2, count: 15)
        )
        let answer = try eval(objective, objective.columns(policy, ref: ref))
        // Log-ratios of 5, 3 and 1 nats: all at the bound of 1.9; A+ = 0.5, 0, 0.1.
        let want = RowObjective.mask.indices.map {
            -RowObjective.mask[$0] * [0.5, 0, 0.1][$0 / 5] * 1.9 / 3
        }
        expectClose(
            try answer.at("grads.logprobs").cells, want, rtol: 1e-12, atol: 0, "gradient")
        expectClose(
            try answer.at("metrics.alol/ratio_clipped_fraction").cells, [1], rtol: 0, atol: 0,
            "share")
    }

    @Test func theFilterTakesRowsOut() throws {
        var objective = RowObjective.all[0]
        objective.params = JSONObject()
        let policy = numbers(15, 4)
        let answer = try eval(objective, objective.columns(policy, ref: policy))
        #expect(try answer.at("columns.weight").cells == [1, 0, 1])
        #expect(try answer.at("per_row").cells[1] == 0)
        #expect(try answer.at("metrics.alol/kept_fraction").cells == [2.0 / 3])
        expectClose(
            try answer.at("metrics.alol/advantage_p50").cells, [0.1], rtol: 1e-12, atol: 0, "p50")
        // A row's own weight stays.
        var columns = objective.columns(policy, ref: policy)
        columns.append(("weight", [3], [2, 2, 0]))
        let weighted = try eval(objective, columns)
        #expect(try weighted.at("columns.weight").cells == [2, 0, 0])
    }

    @Test func theValuePhaseIsASquaredError() throws {
        let request = Workbench.request(
            rows: 2, columns: [("seq_values", [2], [0.5, 1]), ("rewards", [2], [1, 0])],
            more: ["phase": "value"])
        let answer = try Workbench.eval("alol", request)
        expectClose(try answer.at("loss").cells, [0.625], rtol: 1e-15, atol: 0, "loss")
        expectClose(
            try answer.at("grads.seq_values").cells, [-0.5, 1], rtol: 1e-15, atol: 0, "gradient")
    }

    /// Rewards that a method cannot use, and what the message says.
    @Test(arguments: [
        ("wbc", [0.5, -0.25, 0.5], "row 1 has the reward -0.25"),
        ("rgold", [0.5, -0.25, 0.5], "set reward_shift to 0.25"),
        ("rlol", [0.5, 0.5, -2], "needs rewards of 0 and more"),
        ("alol", [0.5, .nan, 0.1], "row 1 has the reward nan: every row needs one"),
        ("wbc", [.infinity, 0.5, 0.1], "row 0 has the reward inf"),
    ]) func badRewardsAreNamed(_ name: String, _ rewards: [Double], _ text: String) throws {
        var objective = try #require(RowObjective.all.first { $0.name == name })
        objective.cells = [("rewards", rewards), ("seq_values", [0, 0, 0])]
        let policy = numbers(15, 5)
        let error = #expect(throws: (any Error).self) {
            try eval(objective, objective.columns(policy, ref: policy))
        }
        #expect("\(try #require(error))".contains(text))
    }

    /// The host borrows the response to another prompt where a step has none: one row is enough.
    @Test func ktoTakesAStepOfOneRow() throws {
        let request = Workbench.request(
            rows: 1, params: ["beta": 0.5],
            columns: [
                ("logprobs", [1, 1], [-1]), ("ref_logprobs", [1, 1], [-2]), ("mask", [1, 1], [1]),
                ("label", [1], [1]), ("mismatched.logprobs", [1, 2], [-1, -1]),
                ("mismatched.ref_logprobs", [1, 2], [-1.5, -1.1]),
                ("mismatched.mask", [1, 2], [1, 1]),
            ])
        let answer = try Workbench.eval("kto", request)
        // z0 = 0.6, u = 1.
        expectClose(try answer.at("metrics.kl").cells, [0.6], rtol: 1e-12, atol: 0, "z0")
        expectClose(
            try answer.at("loss").cells, [1 - 1 / (1 + exp(-0.5 * 0.4))], rtol: 1e-12, atol: 0,
            "loss")
    }

    /// The part of label smoothing is not weighted: -ε times the mean log-probability over the vocabulary.
    @Test func goldSmoothsLabels() throws {
        let objective = RowObjective(
            name: "gold", params: ["variant": "delta", "label_smoothing": 0.2], cells: []
        ) { _, _ in 0 }
        let (policy, vocabulary) = (numbers(15, 6), numbers(15, 7, -9 ... -5))
        var columns = objective.columns(policy, ref: policy)
        columns.append(("vocab_logprobs", [3, 5], vocabulary))
        let answer = try eval(objective, columns)
        let count = RowObjective.mask.reduce(0, +)
        let want = RowObjective.mask.indices.reduce(0.0) {
            guard RowObjective.mask[$1] != 0 else { return $0 }
            return $0 - 0.8 * max(exp(policy[$1]), 0.1) * policy[$1] - 0.2 * vocabulary[$1]
        }
        expectClose(try answer.at("loss").cells, [want / count], rtol: 1e-12, atol: 0, "loss")
        expectClose(
            try answer.at("grads.vocab_logprobs").cells,
            RowObjective.mask.map { -0.2 * $0 / count }, rtol: 1e-12, atol: 0, "gradient")
    }
}

struct RankedTests {
    private func eval(
        _ means: [Double], rewards: [Double], rank: [Double], valid: [Double]? = nil,
        params: JSONObject = ["sft_weight": 0], rows: Int = 1
    ) throws -> JSON {
        let shape = [rows, means.count / rows]
        return try Workbench.eval(
            "pro",
            Workbench.request(
                rows: rows, params: params,
                columns: [
                    ("mean_logprobs", shape, means), ("seq_logprobs", shape, means.map { 4 * $0 }),
                    ("rewards", shape, rewards), ("rank", shape, rank),
                    ("valid", shape, valid ?? means.map { _ in 1 }),
                ]))
    }

    /// Two responses: -log σ of the scaled difference of the mean log-probabilities.
    @Test func twoResponsesAreAPair() throws {
        let answer = try eval([-1, -1.5], rewards: [2, 0.5], rank: [0, 1])
        expectClose(
            try answer.at("loss").cells, [log(1 + exp(1.5 * (-1.5 + 1)))], rtol: 1e-14, atol: 0,
            "loss")
    }

    /// The order of the columns means nothing, and a list may be longer than another one of its batch.
    @Test func onlyTheRanksCount() throws {
        let sorted = try eval(
            [-1, -1.5, -0.5], rewards: [2, 1, 0.5], rank: [0, 1, 2], params: JSONObject())
        let mixed = try eval(
            [-0.5, -1, -9, -1.5], rewards: [0.5, 2, 7, 1], rank: [2, 0, 0, 1],
            valid: [1, 1, 0, 1], params: JSONObject())
        expectClose(
            try mixed.at("loss").cells, try sorted.at("loss").cells, rtol: 1e-14, atol: 0, "loss")
        let (a, b) = (
            try sorted.at("grads.mean_logprobs").cells, try mixed.at("grads.mean_logprobs").cells
        )
        expectClose(b, [a[2], a[0], 0, a[1]], rtol: 1e-13, atol: 0, "gradient")
        expectClose(
            try mixed.at("metrics.rank_1_loss").cells, try sorted.at("metrics.rank_1_loss").cells,
            rtol: 1e-14, atol: 0, "metric")
    }

    @Test func equalRanksAndEqualRewardsPushNothing() throws {
        let tied = try eval([-1, -2], rewards: [1, 0], rank: [0, 0])
        #expect(try tied.at("loss").cells == [0])
        let same = try eval([-1, -2, -3], rewards: [1, 1, 1], rank: [0, 1, 2])
        expectClose(
            try same.at("loss").cells, [log(3.0) + log(2.0)], rtol: 1e-14, atol: 0, "loss")
        #expect(try same.at("grads.mean_logprobs").cells == [0, 0, 0])
    }

    @Test func largeGapsStayFinite() throws {
        for params: JSONObject in [["sft_weight": 0], ["sft_weight": 0, "eps": 1e-10]] {
            let answer = try eval(
                [-1e4, -0.001, -1e4], rewards: [300, 0, -500], rank: [0, 1, 2], params: params)
            let cells = try answer.at("loss").cells + answer.at("grads.mean_logprobs").cells
            #expect(cells.allSatisfy { $0.isFinite })
        }
    }
}

struct PairTests {
    private func eval(
        _ plugin: String, _ chosen: Double, _ rejected: Double, params: JSONObject = JSONObject()
    ) throws -> JSON {
        try Workbench.eval(
            plugin,
            Workbench.request(
                rows: 1, params: params,
                columns: [
                    ("chosen.logprobs", [1, 2], [chosen, chosen]),
                    ("chosen.mask", [1, 2], [1, 1]),
                    ("rejected.logprobs", [1, 2], [rejected, 5]),
                    ("rejected.mask", [1, 2], [1, 0]),
                ]))
    }

    @Test func simPOComparesMeansWithAMargin() throws {
        let answer = try eval(
            "simpo", -1, -1.5, params: ["beta": 2, "gamma_beta_ratio": 0.25, "nll_coef": 0.5])
        expectClose(
            try answer.at("loss").cells, [log(1 + exp(-0.5)) + 0.5], rtol: 1e-14, atol: 0, "loss")
        expectClose(
            try answer.at("metrics.rewards/margins").cells, [1], rtol: 1e-14, atol: 0, "margin")
    }

    /// At probability 1 and at none the odds stay finite.
    @Test(arguments: [(0.0, -1.0), (-1e-9, -1e4), (-1e4, 0), (-1e4, -1e4), (-1e-12, -1e-12)])
    func oddsStayFinite(_ chosen: Double, _ rejected: Double) throws {
        for f32 in [false, true] {
            let request = Workbench.request(
                rows: 1,
                columns: [
                    ("chosen.mean_logprobs", [1], [chosen]), ("chosen.seq_logprobs", [1], [chosen]),
                    ("rejected.mean_logprobs", [1], [rejected]),
                    ("rejected.seq_logprobs", [1], [rejected]),
                ])
            let answer = try Workbench.eval("orpo", request, f32: f32)
            let cells =
                try answer.at("loss").cells + answer.at("grads.chosen.mean_logprobs").cells
                + answer.at("grads.rejected.mean_logprobs").cells
            #expect(cells.allSatisfy { $0.isFinite }, "\(chosen), \(rejected)")
        }
    }
}

struct RewardModelTests {
    private func eval(
        _ type: String, _ columns: [(String, [Int], [Double])], params: JSONObject = JSONObject()
    ) throws -> JSON {
        var params = params
        params["loss_type"] = .string(type)
        return try Workbench.eval(
            "reward_model",
            Workbench.request(rows: columns[0].1[0], params: params, columns: columns))
    }

    /// All pairs of a list, K choose 2, each list counting once; the order of the columns means nothing.
    @Test func aRankedListIsAllItsPairs() throws {
        let answer = try eval(
            "ranked",
            [
                ("scores", [2, 3], [0.5, 2, 1, 3, -1, 9]), ("rank", [2, 3], [2, 0, 1, 0, 1, 5]),
                ("valid", [2, 3], [1, 1, 1, 1, 1, 0]),
            ])
        let pair = { (d: Double) in log(1 + exp(-d)) }
        let want = [(pair(1) + pair(1.5) + pair(0.5)) / 3, pair(4)]
        expectClose(try answer.at("per_row").cells, want, rtol: 1e-14, atol: 0, "losses")
        expectClose(
            [try answer.at("grads.scores").cells[5]], [0], rtol: 0, atol: 0, "nothing there")
        expectClose(
            try answer.at("metrics.max_reward").cells, [3], rtol: 0, atol: 0, "largest score")
    }

    @Test func labelsAndRewards() throws {
        let binary = try eval(
            "binary", [("scores", [2], [0.5, 0.5]), ("label", [2], [1, 0])])
        expectClose(
            try binary.at("per_row").cells, [log(1 + exp(-0.5)), log(1 + exp(0.5))], rtol: 1e-14,
            atol: 0, "cross entropy")
        #expect(try binary.at("metrics.accuracy").cells == [0.5])
        let regression = try eval(
            "regression", [("scores", [2], [0.5, 0.5]), ("rewards", [2], [1, 0])])
        #expect(try regression.at("per_row").cells == [0.25, 0.25])
        #expect(try regression.at("grads.scores").cells == [-0.5, 0.5])
    }

    @Test func theLikelihoodStaysInTheLoss() throws {
        let answer = try eval(
            "pairwise",
            [
                ("chosen.scores", [1], [1]), ("rejected.scores", [1], [0]),
                ("chosen.mean_logprobs", [1], [-2]),
            ], params: ["lm_coef": 0.5, "eps": 1e-5])
        let sigma = 1 / (1 + exp(-1.0))
        expectClose(
            try answer.at("loss").cells, [1 - log(sigma + 1e-5)], rtol: 1e-14, atol: 0, "loss")
    }
}
