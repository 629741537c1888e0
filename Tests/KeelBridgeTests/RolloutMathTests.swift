import KeelCore
import KeelTensor
import KeelTestSupport
import Testing

@testable import KeelBridge

/// The functions on whole rows, by answers worked out by hand.
struct RolloutMathTests {
    private func answer(_ name: String, _ request: JSON) throws -> JSON {
        try Math.answer(name, request, precision: .f64, device: Zoo.device)
    }

    private func expect(
        _ name: String, _ request: JSON, _ key: String, _ want: [Double],
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let got = try Arrays.cells(
            try #require(try answer(name, request)[key], sourceLocation: sourceLocation), name: key
        ).values
        #expect(got.count == want.count, "\(name)", sourceLocation: sourceLocation)
        for (a, b) in zip(got, want) {
            #expect(
                abs(a - b) <= 1e-12, "\(name).\(key): \(got), not \(want)",
                sourceLocation: sourceLocation)
        }
    }

    @Test func theScoreStandsAtTheLastRealToken() throws {
        let ids: JSON = [[5, 6, 0, 0], [0, 7, 0, 8], [0, 0, 0, 0]]
        try expect(
            "score_position", ["ids": ids, "rule": "last_non_pad", "pad_token_id": 0], "index",
            [1, 3, 0])
        try expect("score_position", ["ids": ids], "index", [3, 3, 3])
        try expect("score_position", ["ids": ids, "lengths": [2, 4, 0]], "index", [1, 3, 0])
    }

    /// Two rows: ratios e^1, e^-1 (product 1), and e^2 with a masked cell.
    @Test(arguments: [
        ("token_truncate", [2, 0.36787944117144233, 2, 0]),
        ("token_mask", [0, 0.36787944117144233, 0, 0]),
        ("sequence_truncate", [1, 1, 2, 0]), ("sequence_mask", [1, 1, 0, 0]),
        ("seq_mask_tis", [2.718281828459045, 0.36787944117144233, 0, 0]),
    ]) func samplerWeights(_ mode: String, _ want: [Double]) throws {
        try expect(
            "sampler_weights",
            [
                "old_logprobs": [[1, -1], [2, 99]], "behavior_logprobs": [[0, 0], [0, 0]],
                "mask": [[1, 1], [1, 0]], "mode": .string(mode), "clip_min": 0.25, "clip_max": 2,
            ], "weights", want)
    }

    @Test func normalizedWeightsHaveMeanOne() throws {
        var question: JSONObject = [
            "old_logprobs": [[1, -1], [2, 99]], "behavior_logprobs": [[0, 0], [0, 0]],
            "mask": [[1, 1], [1, 0]], "mode": "sequence_truncate", "clip_max": 3, "normalize": true,
        ]
        try expect("sampler_weights", .object(question), "weights", [0.5, 0.5, 1.5, 0])
        question["mode"] = "token_mask"
        question["clip_max"] = 0.1
        try expect("sampler_weights", .object(question), "weights", [0, 0, 0, 0])
    }

    @Test func pairsAreBestAgainstWorst() throws {
        var question: JSONObject = [
            "rewards": [1, 5, 5, 0, 3, 3], "finished": [1, 1, 1, 1, 1, 0],
            "group": [0, 0, 0, 0, 1, 1],
        ]
        try expect("choose_pairs", .object(question), "chosen", [1])
        try expect("choose_pairs", .object(question), "rejected", [3])
        question["ties"] = "first"
        try expect("choose_pairs", .object(question), "chosen", [1, 4])
        try expect("choose_pairs", .object(question), "rejected", [3, 5])
        question["ties"] = "drop"
        question["missing_eos_penalty"] = 1
        try expect("choose_pairs", .object(question), "chosen", [1, 4])
    }

    @Test func rewardsAreShaped() throws {
        try expect(
            "mix_reference", ["ref": [0, 4], "policy": [1, 0], "alpha": 0.25], "ref", [0.25, 3])
        try expect(
            "overlong_penalty",
            ["lengths": [80, 90, 100, 500], "max_length": 100, "cache": 20, "factor": 2],
            "penalty", [0, -1, -2, -2])
        try expect(
            "stop_properly", ["scores": [2, 2], "truncated": [0, 1], "coef": 0.5], "scores", [2, 1])
        try expect(
            "stop_properly", ["scores": [2, 2], "truncated": [0, 1], "coef": -1], "scores", [2, -1])
        try expect(
            "repetition_penalty",
            ["sequences": [[1, 2, 1, 2, 1], [1, 2], [1, 2, 3]], "n": 2, "max_penalty": -1],
            "penalty", [-0.5, 0, 0])
    }

    @Test func safetyGatesHelpfulness() throws {
        let question: JSON = [
            "safety": [0.1, 0.9, 0.9], "helpfulness": [0.5, 0.5, 0.5],
            "is_safety_prompt": [0, 0, 1], "sequence_kl": [0, 0, 1], "threshold": 0.15,
            "kl_coef": 0.5,
        ]
        try expect("gated_reward", question, "uses_safety", [1, 0, 1])
        try expect("gated_reward", question, "combined", [0.1, 0.5, 0.9])
        try expect(
            "gated_reward", question, "logit", [-2.1972245773362196, 0, 2.1972245773362196])
        let logit = 2.1972245773362196
        let whitened = logit / (2 / 3 * logit * logit + 1e-8).squareRoot()
        try expect("gated_reward", question, "reward", [-whitened, 0, whitened - 0.5])
    }

    @Test func rowsAreChosen() throws {
        try expect(
            "best_of_n", ["scores": [[1, 3, 3], [0, -1, 0]], "k": 2], "best_k", [1, 2, 0, 2])
        try expect("best_of_n", ["scores": [["nan", 3], [0, "nan"]]], "best", [1, 0])
        let outcomes: JSON = ["outcomes": [[1, 1], [1, 0], [0, 0]]]
        try expect("keep_groups", outcomes, "mixed", [0, 1, 0])
        try expect("keep_groups", outcomes, "band", [0, 1, 0])
        let draw: JSON = ["weights": [1, 0, 3], "uniforms": [0, 0.2499, 0.25, 0.999]]
        try expect("priority_draw", draw, "kept", [0, 2])
        try expect("priority_draw", draw, "probabilities", [0.25, 0.75])
        try expect("priority_draw", draw, "picks", [0, 0, 2, 2])
    }

    @Test func rowsAreOrdered() throws {
        try expect(
            "length_grouped",
            [
                "lengths": [3, 1, 4, 1, 5, 9], "permutation": [0, 1, 2, 3, 4, 5], "batch_size": 2,
                "mega_batch_mult": 2,
            ], "order", [5, 0, 1, 3, 2, 4])
        try expect(
            "repeat_order",
            ["permutation": [2, 0, 1], "batch_size": 2, "group": 2, "repeat_count": 2], "order",
            [2, 2, 0, 0, 2, 2, 0, 0])
        #expect(
            message { _ = try answer("repeat_order", ["permutation": [0, 0], "batch_size": 1]) }
                .contains("is no permutation of 0 ..< 2"))
        #expect(
            message { _ = try answer("priority_draw", ["weights": [0], "uniforms": [0.5]]) }
                .contains("no weight is above 0"))
    }
}
