import Foundation
import KeelCore
import Testing

@testable import KeelHost

/// Every online objective with every reward path, token sampler and order: one changed line each.
@Suite(.serialized) struct OnlineMatrixTests {
    static let objectives = ["ppo", "ppo_max", "grpo", "rloo", "reinforce", "online_dpo"]

    /// A reward on each path that there is: plugins in C and Swift in a worker, in this process, of several workers, a plain C
    /// function, a reward model, a judge, and one that only rows with a vowel have.
    static let rewards = [
        ("worker", "{ \"plugin\": \"length\", \"params\": { \"target\": 12 } }"),
        (
            "swift",
            "{ \"plugin\": \"lexicon\", \"params\": { \"words\": [\"the\", \"a\", \"of\"] } }, \(plain)"
        ),
        (
            "workers",
            "{ \"plugin\": \"tfidf_novelty\", \"run\": { \"workers\": 2 } }, \(plain)"
        ),
        ("process", plain),
        (
            "native",
            """
            { "native": { "library": "libc.so.6", "symbol": "strlen", "signature": "i64(str response)" },
              "weight": 0.1 }
            """
        ),
        ("model", "{ \"plugin\": \"model\", \"model\": { \"path\": \"reward-model\" } }"),
        (
            "judge",
            """
            { "plugin": "judge", "judge": { "path": "base", "max_new_tokens": 3 },
              "params": { "template": "{response}?", "verdict": "regex", "pattern": "[a-m]", "yes": "a|e|i" } },
            { "plugin": "repetition", "normalize": "normalize" }
            """
        ),
    ]
    static let plain = """
        { "plugin": "regex", "params": { "pattern": "[aeiou]", "mode": "count" }, "run": { "isolate": "none" } }
        """

    /// One changed line each: every objective with a reward on every path, every token sampler and every order runs two
    /// steps, and changes the weights wherever answers to a prompt, or to all of them, differ in their reward.
    @Test(arguments: objectives) func everyCombinationRuns(_ objective: String) throws {
        let runs = try OnlineRuns()
        try runs.addRewardModel()
        let start = try Files.read(runs.path("base/model.safetensors"))
        let params = objective == "ppo_max" ? "{ \"critic_warmup_steps\": 1 }" : "{}"
        let comparesGroups = ["grpo", "rloo", "online_dpo"].contains(objective)
        var count = 0
        var metrics: Set<String> = []
        func expectRuns(
            _ path: String, _ rewards: String, _ sampler: String,
            _ order: String = OnlineMatrixTests.orders[0]
        ) throws {
            let file = try runs.config(
                objective, params: params, sections: "\"combine\": { \"missing\": \"constant\" },",
                rewards: rewards, sampler: sampler, order: order)
            count += 1
            let run = "\(count)-\(path)-\(sampler)"
            #expect(try runs.train(file, into: run, set: ["train.save_steps=0"]) == .ok)
            let lines = try runs.lines(run).filter { $0["loss"] != nil }
            let numbers = ["loss", "grad_norm", "reward"].flatMap { name in
                lines.map { $0[name]?.double ?? .nan }
            }
            #expect(
                lines.count == (objective == "ppo_max" ? 3 : 2) && numbers.allSatisfy(\.isFinite),
                "\(objective) \(run)")
            try runs.lines(run).forEach { metrics.formUnion($0.map(\.key)) }
            // The likeliest answers to one prompt are all the same.
            let differs = lines.contains { ($0["reward_std"]?.double ?? 0) > 0 }
            #expect(differs == (sampler == "nucleus"), "\(objective) \(run)")
            let isChanged = try runs.weights(run) != start
            #expect(isChanged == (differs || !comparesGroups), "\(objective) \(run)")
        }
        for (path, rewards) in OnlineMatrixTests.rewards {
            for sampler in ["nucleus", "greedy"] {
                try expectRuns(path, rewards, sampler)
            }
        }
        for order in OnlineMatrixTests.orders.dropFirst() {
            try expectRuns("process", OnlineMatrixTests.plain, "nucleus", order)
        }
        try expectExplained(metrics)
    }

    /// Of `docs/online.md`: the names in the first columns of its tables.
    private static func explained() throws -> [[Substring]] {
        let page = OnlineRuns.root.appendingPathComponent("docs/online.md").path
        return try Files.readText(page).split(separator: "\n").filter { $0.hasPrefix("| `") }
            .flatMap { line in
                let cell = line.dropFirst(2).prefix { $0 != "|" }
                return cell.split(separator: "`").filter { $0.first?.isLetter == true }
            }.map { $0.split(separator: "/") }
    }

    /// The page says what every metric means that a run writes.
    private func expectExplained(_ metrics: Set<String>) throws {
        let known = try OnlineMatrixTests.explained()
        let own: Set<Substring> = [
            "lexicon", "regex", "length", "tfidf_novelty", "judge", "model", "repetition",
            "priority",
        ]
        let missing = metrics.filter { name in
            let parts = name.split(separator: "/")
            if parts.count == 2, own.contains(parts[0]) { return false }
            return !known.contains { line in
                line.count == parts.count
                    && zip(line, parts).allSatisfy { $0 == $1 || $0 == "NAME" && line.count > 2 }
            }
        }
        #expect(missing.isEmpty, "docs/online.md does not explain \(missing.sorted())")
    }

    @Test func everyMetricOfUnusualRunsIsExplained() throws {
        let runs = try OnlineRuns()
        var metrics: Set<String> = []
        try AtomicWrite.file(
            runs.path("ptx.jsonl"), "{\"prompt\": \"Two\", \"completion\": \" make.\"}\n")
        for (objective, params, train) in [
            (
                "ppo",
                """
                { "ent_coef": 0.01, "policy_kl_coef": 0.1, "ref_kl_coef": 0.1, "kl_control": "adaptive",
                  "bootstrap_truncated": true, "sampler_correction": "token_mask" }
                """, "\"sync_ref_model\": true, \"ref_model_reset_kl\": 1e-6,"
            ),
            (
                "ppo_max",
                "{ \"ent_coef\": 0.1, \"advantage_clip\": 0.5, \"critic_warmup_steps\": 1 }",
                "\"ptx_coef\": 0.1,"
            ),
            (
                "grpo",
                """
                { "loss_type": "cispo", "kl_coef": 0.1, "off_policy_mask_threshold": 0.1, "sampler_correction": "token_truncate",
                  "top_entropy_quantile": 0.5 }
                """, "\"dynamic_sampling\": true,"
            ),
            (
                "reinforce", "{ \"baseline\": \"value\", \"ent_coef\": 0.1, \"clip_range\": 0.2 }",
                ""
            ),
        ] {
            let file = try runs.config(objective, params: params, train: train)
            let ptx = objective == "ppo_max" ? ["data.ptx=ptx.jsonl"] : []
            try runs.train(file, into: objective, set: ["train.save_steps=0"] + ptx)
            try runs.lines(objective).forEach { metrics.formUnion($0.map(\.key)) }
        }
        try expectExplained(metrics)
    }

    static let orders = [
        "\"shuffle\"", "\"sequential\"", "\"length_grouped\"", "\"curriculum\"",
        """
        "priority", "params": { "column": "prompt_length", "feedback_column": "rewards", "feedback_rate": 0.5 }
        """,
    ]

    /// A resumed run with each data sampler and each token sampler has the bits of one that was never stopped: from the
    /// middle of a roll-out, and from the end of an epoch.
    @Test(arguments: orders.map { ($0, "nucleus") } + [(orders[0], "greedy")])
    func resumesWithEverySampler(_ order: String, _ sampler: String) throws {
        let runs = try OnlineRuns()
        let file = try runs.config(
            "ppo", train: "\"rollout_batch_size\": 16, \"max_steps\": 8,", sampler: sampler,
            order: order)
        #expect(try runs.train(file, set: ["train.save_steps=3"]) == .ok)
        #expect(CheckpointStore(directory: runs.path("run")).steps() == [3, 6, 8])
        try runs.expectResumes(
            file, files: ["model.safetensors", "critic/model.safetensors"],
            set: ["train.save_steps=3"])
    }

    /// Scores come from one process, from one worker or from three: the same bits.
    @Test(arguments: objectives) func workersChangeNoBit(_ objective: String) throws {
        let runs = try OnlineRuns()
        let file = try runs.config(objective, train: "\"max_steps\": 3,")
        var weights: [[UInt8]] = []
        for run in ["{\"isolate\": \"none\"}", "{\"workers\": 1}", "{\"workers\": 3}"] {
            let reward = "{\"plugin\": \"length\", \"params\": {\"target\": 12}, \"run\": \(run)}"
            #expect(
                try runs.train(file, into: "run\(weights.count)", set: ["rewards=[\(reward)]"])
                    == .ok)
            weights.append(try runs.weights("run\(weights.count)"))
        }
        #expect(weights[0] == weights[1] && weights[0] == weights[2])
    }
}
