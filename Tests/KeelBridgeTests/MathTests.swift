import KeelCore
import KeelTensor
import KeelTestSupport
import Testing

@testable import KeelBridge

struct MathTests {
    private func answer(_ name: String, _ request: JSON) throws -> JSON {
        try Math.answer(name, request, precision: .f64, device: Zoo.device)
    }

    private func cells(_ json: JSON?, _ name: String) throws -> [Double] {
        try Arrays.cells(try #require(json), name: name).values
    }

    @Test func tokenLogprobsAreALogSoftmax() throws {
        let out = try answer(
            "token_logprobs",
            ["logits": [[[0, 0, 0, 0], [1, 1, 1, 1]]], "labels": [[-100, 2]], "of": "sum"])
        let quarter = -1.3862943611198906
        expectClose(try cells(out["logprobs"], "logprobs"), [quarter], Tolerance(relative: 1e-15))
        expectClose(
            try cells(out["grads"]?["logits"], "grads"), [-0.25, -0.25, 0.75, -0.25, 0, 0, 0, 0],
            Tolerance(relative: 1e-15))
    }

    @Test func anUntrainedRowHasMeanZero() throws {
        let out = try answer(
            "token_logprobs",
            ["logits": [[[1, 2], [3, 4]]], "labels": [[0, -100]], "of": "mean"])
        #expect(try cells(out["mean_logprobs"], "mean") == [0])
        #expect(try cells(out["grads"]?["logits"], "grads") == [0, 0, 0, 0])
    }

    @Test func leaveOneOutSumsToZero() throws {
        let out = try answer(
            "group_advantages",
            ["rewards": [[1], [0], [2]], "group": [0, 0, 0], "baseline": "leave_one_out"])
        expectClose(
            try cells(out["advantages"], "advantages"), [0, -1.5, 1.5],
            Tolerance(relative: 1e-15, absolute: 1e-15))
    }

    /// Llama-2's rule: strictly below the threshold or tagged; the logit of what is held within [1e-6, 1 - 1e-6].
    @Test func safetyTakesOver() throws {
        let out = try answer(
            "gated_reward",
            [
                "safety": [0.15, 0.1, 0.9], "helpfulness": [0.5, 0.5, 0.2],
                "is_safety_prompt": [0, 0, 1], "sequence_kl": [1, 2, 3], "threshold": 0.15,
                "kl_coef": 0.5,
            ])
        #expect(try cells(out["uses_safety"], "uses_safety") == [0, 1, 1])
        #expect(try cells(out["combined"], "combined") == [0.5, 0.1, 0.9])
        let l = 2.1972245773362196
        expectClose(
            try cells(out["logit"], "logit"), [0, -l, l],
            Tolerance(relative: 1e-14, absolute: 1e-15))
        let one = 1.5.squareRoot()  // l / sqrt(2 l^2 / 3)
        expectClose(
            try cells(out["reward"], "reward"), [-0.5, -one - 1, one - 1.5],
            Tolerance(relative: 1e-8))
        let edge = try answer(
            "gated_reward",
            [
                "safety": [1, 1], "helpfulness": [0, 1], "is_safety_prompt": [0, 0],
                "sequence_kl": [0, 0],
            ])
        expectClose(
            try cells(edge["logit"], "logit"), [-13.815509557963774, 13.815509557963774],
            Tolerance(relative: 1e-9))
    }

    @Test func lengthAndRepetitionCost() throws {
        let overlong = try answer(
            "overlong_penalty",
            ["lengths": [1, 80, 85, 100, 400], "max_length": 100, "cache": 20, "factor": 2])
        #expect(try cells(overlong["penalty"], "penalty") == [0, 0, -0.5, -2, -2])
        let hard = try answer(
            "overlong_penalty", ["lengths": [100, 101], "max_length": 100, "cache": 0])
        #expect(try cells(hard["penalty"], "penalty") == [0, -1])
        for (coef, want) in [(0.5, [2.0, -3]), (-1, [-1, -3])] {
            let out = try answer(
                "stop_properly",
                ["scores": [4, -3], "truncated": [1, 0], "coef": .double(coef)])
            #expect(try cells(out["scores"], "scores") == want)
        }
        // 1 1 1 1: two trigrams, one different; too short: no cost.
        let repeated = try answer(
            "repetition_penalty",
            ["sequences": [[1, 1, 1, 1], [1, 2], [], [1, 2, 3]], "n": 3, "max_penalty": -1])
        #expect(try cells(repeated["penalty"], "penalty") == [-0.5, 0, 0, 0])
    }

    @Test func unknownNamesAndArraysAreRefused() {
        #expect(message { _ = try answer("whitten", [:]) }.contains("did you mean \"whiten\"?"))
        #expect(
            message { _ = try answer("gae", ["rewards": [[1, 2], [3]]]) }.contains(
                "\"rewards\" is ragged"))
        #expect(
            message { _ = try answer("gae", ["rewards": [[1, 2]]]) }.contains(
                "\"values\" is missing"))
        #expect(
            message {
                _ = try answer(
                    "kl_estimate",
                    ["logprobs": [[1]], "ref_logprobs": [[1]], "mask": [[1]], "estimator": "k9"])
            }
            .contains("known: k1, k2, k3, abs"))
    }
}
