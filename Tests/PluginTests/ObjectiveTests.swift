import Foundation
import KeelCore
import KeelBridge
import Testing

/// Numbers in [-3, 0], the same for the same seed.
private func logprobs(_ count: Int, _ seed: UInt64) -> [Double] {
    let stream = RandomStream(seed: seed, place: "plugin tests")
    return (0..<count).map { -3 * stream.uniform(UInt64($0)) }
}

private let masks: [Double] = [1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0]

/// Three pairs of up to five tokens.
private func pairs(policy: [Double]? = nil, ref: [Double]? = nil) -> [(String, [Int], [Double])] {
    let policy = policy ?? logprobs(30, 1)
    let ref = ref ?? logprobs(30, 2)
    return [
        ("chosen.logprobs", [3, 5], Array(policy[..<15])),
        ("rejected.logprobs", [3, 5], Array(policy[15...])),
        ("chosen.ref_logprobs", [3, 5], Array(ref[..<15])),
        ("rejected.ref_logprobs", [3, 5], Array(ref[15...])),
        ("chosen.mask", [3, 5], masks),
        ("rejected.mask", [3, 5], Array(masks[5...] + masks[..<5])),
    ]
}

struct DPOTests {
    static let losses = [
        "sigmoid", "robust", "hinge", "ipo", "bco_pair", "nca_pair", "sppo_hard", "apo_zero",
        "apo_down", "discopop",
        "exo_pair", "aot", "aot_unpaired", "sft", "sigmoid+sft",
    ]

    @Test func policyEqualToTheReferenceGivesLog2() throws {
        let same = logprobs(30, 3)
        let answer = try Workbench.eval(
            "dpo", Workbench.request(rows: 3, columns: pairs(policy: same, ref: same)))
        expectClose(try answer.at("loss").cells, [log(2.0)], rtol: 1e-12, atol: 0, "loss")
        expectClose(
            try answer.at("metrics.rewards/accuracies").cells, [0], rtol: 0, atol: 0,
            "a tie is not accurate")
    }

    @Test(arguments: losses) func gradientEqualsCentralDifferences(_ loss: String) throws {
        let params: JSONObject = [
            "loss_type": .string(loss), "beta": 0.3,
            "label_smoothing": loss == "exo_pair" ? 0.2 : 0.1,
        ]
        let base = logprobs(30, 4)
        func value(_ policy: [Double]) throws -> Double {
            let request = Workbench.request(rows: 3, params: params, columns: pairs(policy: policy))
            return try Workbench.eval("dpo", request).at("loss").cells[0]
        }
        let answer = try Workbench.eval(
            "dpo", Workbench.request(rows: 3, params: params, columns: pairs(policy: base)))
        let gradient =
            try answer.at("grads.chosen.logprobs").cells
            + answer.at("grads.rejected.logprobs").cells
        // Central differences of a smooth function in f64: error h² of about 1e-10.
        let step = 1e-5
        for index in stride(from: 0, to: 30, by: 3) {
            var (up, down) = (base, base)
            up[index] += step
            down[index] -= step
            let slope = (try value(up) - value(down)) / (2 * step)
            expectClose([gradient[index]], [slope], rtol: 1e-6, atol: 1e-8, "\(loss) cell \(index)")
        }
    }

    @Test func paddingChangesNothing() throws {
        let narrow = pairs()
        let wide = narrow.map { name, shape, cells -> (String, [Int], [Double]) in
            let garbage = name.hasSuffix("mask") ? [0.0, 0] : [-1.25, .nan]
            return (
                name, [3, 7], (0..<3).flatMap { Array(cells[($0 * 5)..<($0 * 5 + 5)]) + garbage }
            )
        }
        let a = try Workbench.eval("dpo", Workbench.request(rows: 3, columns: narrow))
        let b = try Workbench.eval("dpo", Workbench.request(rows: 3, columns: wide))
        expectClose(try b.at("loss").cells, try a.at("loss").cells, rtol: 1e-14, atol: 0, "loss")
        let gradient = try b.at("grads.chosen.logprobs").cells
        #expect(gradient.enumerated().allSatisfy { $0.offset % 7 < 5 || $0.element == 0 })
    }

    @Test func badParametersAreNamed() throws {
        let request = Workbench.request(
            rows: 3, params: ["loss_type": "sigmoid+hindge"], columns: pairs())
        let error = #expect(throws: (any Error).self) { try Workbench.eval("dpo", request) }
        #expect("\(try #require(error))".contains("hindge"))
    }
}

struct SFTTests {
    @Test func maskedCellsMayHoldAnything() throws {
        var cells = logprobs(15, 5)
        for index in masks.indices where masks[index] == 0 { cells[index] = .nan }
        let request = Workbench.request(
            rows: 3, columns: [("logprobs", [3, 5], cells), ("mask", [3, 5], masks)])
        let answer = try Workbench.eval("sft", request)
        let count = masks.reduce(0, +)
        let sum = zip(cells, masks).reduce(0.0) { $1.1 == 0 ? $0 : $0 - $1.0 }
        expectClose(try answer.at("loss").cells, [sum / count], rtol: 1e-14, atol: 0, "loss")
        expectClose(
            try answer.at("grads.logprobs").cells, masks.map { -$0 / count }, rtol: 1e-14, atol: 0,
            "gradient")
    }
}

struct RLOOTests {
    private func columns(
        old: [Double], rewards: [Double] = [1, 0, 2]
    ) -> [(String, [Int], [Double])] {
        [
            ("logprobs", [3, 5], logprobs(15, 6)), ("old_logprobs", [3, 5], old),
            ("mask", [3, 5], masks),
            ("rewards", [3], rewards), ("group", [3], [0, 0, 0]),
        ]
    }

    /// On the first step of a roll-out both ratios are 1 and the gradient is that of -A log π.
    @Test(arguments: ["token", "sequence"]) func firstStepIsREINFORCE(_ level: String) throws {
        let request = Workbench.request(
            rows: 3, params: ["kl_coef": 0, "importance_level": .string(level)],
            columns: columns(old: logprobs(15, 6)))
        let answer = try Workbench.eval("rloo", request)
        let advantages = [1 - 1.0, 0 - 1.5, 2 - 0.5]
        expectClose(
            try answer.at("columns.advantages").cells, advantages, rtol: 1e-14, atol: 1e-15,
            "advantages")
        let want = masks.indices.map { -masks[$0] * advantages[$0 / 5] / 3 }
        expectClose(
            try answer.at("grads.logprobs").cells, want, rtol: 1e-12, atol: 1e-15, "gradient")
    }

    @Test func aMissingRewardIsLeftOut() throws {
        let request = Workbench.request(
            rows: 3, params: ["kl_coef": 0],
            columns: columns(old: logprobs(15, 6), rewards: [1, .nan, 2]))
        let answer = try Workbench.eval("rloo", request)
        expectClose(
            try answer.at("columns.advantages").cells, [-1, 0, 1], rtol: 1e-14, atol: 0,
            "advantages")
    }

    @Test func oneResponsePerPromptIsRefused() throws {
        var columns = columns(old: logprobs(15, 6))
        columns[4].2 = [0, 1, 2]
        let request = Workbench.request(rows: 3, params: ["kl_coef": 0], columns: columns)
        let error = #expect(throws: (any Error).self) { try Workbench.eval("rloo", request) }
        #expect("\(try #require(error))".contains("num_generations"))
    }

    @Test func klNeedsTheReference() throws {
        let request = Workbench.request(rows: 3, columns: columns(old: logprobs(15, 6)))
        let error = #expect(throws: (any Error).self) { try Workbench.eval("rloo", request) }
        #expect("\(try #require(error))".contains("ref_logprobs"))
    }
}
