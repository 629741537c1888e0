import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// The first step of every offline objective, on text: what it is where the policy is still the reference, and that neither
/// micro-batches nor their order change it.
@Suite struct FirstStepTests {
    struct Case: CustomTestStringConvertible, Sendable {
        let objective: String
        var params = "{}"
        /// What metrics of the first step are, exactly known.
        var known: [String: Double] = [:]

        var testDescription: String { "\(objective) \(params)" }
    }

    static let cases = [
        Case(objective: "sft"),
        Case(objective: "sft", params: #"{"loss_type": "dft"}"#),
        Case(
            objective: "dpo",
            known: ["loss": log(2), "rewards/margins": 0, "rewards/accuracies": 0]),
        Case(
            objective: "dpo", params: #"{"loss_type": "robust", "label_smoothing": 0.1}"#,
            known: ["loss": log(2)]),
        Case(objective: "dpo", params: #"{"loss_type": "hinge"}"#, known: ["loss": 1]),
        Case(objective: "dpo", params: #"{"loss_type": "ipo"}"#, known: ["loss": 25]),
        Case(objective: "dpo", params: #"{"loss_type": "sppo_hard"}"#, known: ["loss": 50]),
        Case(objective: "dpo", params: #"{"loss_type": "apo_zero"}"#, known: ["loss": 1]),
        Case(
            objective: "kto",
            known: ["loss": 0.5, "kl": 0, "rewards/chosen": 0, "rewards/rejected": 0]),
        Case(objective: "alol", known: ratios("alol")),
        Case(objective: "alol_seq", known: ratios("alol")),
        Case(objective: "alol_ref_free"), Case(objective: "alol_kl", known: ["alol/kl_penalty": 0]),
        Case(objective: "rlol", known: ratios("rlol")), Case(objective: "wbc"),
        Case(objective: "rgold"),
        Case(objective: "gold"),
        Case(objective: "gold", params: #"{"variant": "p", "trunc_min": 1}"#),
        Case(objective: "pro"), Case(objective: "orpo"), Case(objective: "simpo"),
        Case(objective: "reward_model"),
        Case(objective: "reward_model", params: #"{"loss_type": "regression"}"#),
        Case(objective: "reward_model", params: #"{"loss_type": "binary"}"#),
        Case(objective: "reward_model", params: #"{"loss_type": "ranked"}"#),
    ]

    private static func ratios(_ family: String) -> [String: Double] {
        [
            "\(family)/ratio_mean": 1, "\(family)/ratio_max": 1, "\(family)/ratio_min": 1,
            "\(family)/ratio_clipped_fraction": 0,
        ]
    }

    private let files: TrainingFolder

    init() throws {
        files = try TrainingFolder()
        let rows = TrainingFolder.preferences(12).split(separator: "\n").enumerated().map {
            $1.dropLast()
                + #", "score_chosen": 0.\#(9 - $0 / 2), "score_rejected": 0.\#(1 + $0 / 4)}"#
        }
        try files.folder.write("rows.jsonl", rows.joined(separator: "\n"))
    }

    @Test(arguments: cases) func isKnownAndTheSameInEveryMicroBatch(_ item: Case) throws {
        var steps: [JSONObject] = []
        for (size, count) in [(8, 1), (4, 2), (1, 8)] {
            try files.folder.write(
                "first.json",
                """
                { "model": { "path": "base" }, "data": { "train": "rows.jsonl" },
                  "objective": { "plugin": "\(item.objective)", "params": \(item.params) },
                  "value_head": { "source": "prompt_mean" },
                  "train": { "per_device_train_batch_size": \(size), "gradient_accumulation_steps": \(count), "max_steps": 1,
                    "logging_steps": 1, "save_steps": 0, "learning_rate": 1e-4, "seed": 5 },
                  "output_dir": "first" }
                """)
            let run = "first-\(size)"
            let outcome = try files.train("first.json", into: run)
            #expect(outcome.code == 0, "\(outcome.errors)")
            steps.append(try #require(try files.metrics(run).first { $0["loss"] != nil }))
        }
        for (name, value) in item.known {
            let found = try #require(steps[0][name]?.double, "\(name)")
            #expect(abs(found - value) <= 2e-6 * max(1, abs(value)), "\(name) is \(found)")
        }
        for step in steps.dropFirst() {
            for (name, bound) in [("loss", 5e-6), ("grad_norm", 1e-4), ("num_tokens", 0)] {
                let (own, first) = (
                    try #require(step[name]?.double), try #require(steps[0][name]?.double)
                )
                #expect(
                    abs(own - first) <= bound * max(1e-2, abs(first)), "\(name): \(own), \(first)")
            }
            #expect(step.pairs.map(\.key) == steps[0].pairs.map(\.key))
        }
    }
}
