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
