import Foundation
import KeelCore
import KeelData
import Testing

@testable import KeelHost

/// The online objectives in whole runs: what they are given, what they change, that they go on where they stopped.
@Suite(.serialized) struct OnlineRunTests {
    /// Inside a roll-out, inside a pass over it, inside the critic's phase: the same bits from every checkpoint.
    @Test(arguments: ["ppo", "ppo_max"]) func resumesAnywhere(_ objective: String) throws {
        let runs = try OnlineRuns()
        let file = try runs.config(
            objective,
            params: """
                { "critic_warmup_steps": 3, "kl_control": "adaptive", "kl_horizon": 100,
                  "bootstrap_truncated": true }
                """, sections: "\"critic\": { \"learning_rate\": 0.02 },",
            train: """
                "rollout_batch_size": 16, "num_iterations": 2, "max_steps": 5, "sync_ref_model": true,
                "ref_model_sync_steps": 3,
                """)
        #expect(try runs.train(file) == .ok)
        #expect(try runs.lines().compactMap { $0["phase"]?.string }.contains("critic"))
        try runs.expectResumes(
            file,
            files: [
                "model.safetensors", "critic/model.safetensors", "reference/model.safetensors",
            ])
    }

    @Test func dynamicSamplingGoesOnWhereItStopped() throws {
        let runs = try OnlineRuns()
        let file = try runs.config(
            "grpo",
            train: "\"dynamic_sampling\": true, \"max_gen_batches\": 3, \"max_steps\": 4,",
            reward: "\"regex\", \"params\": { \"pattern\": \"[xz]\" }")
        #expect(try runs.train(file) == .ok)
        #expect(try runs.lines().first?["dynamic_sampling/batches"]?.double ?? 0 >= 1)
        try runs.expectResumes(file, files: ["model.safetensors"])
    }

    @Test func reinforceTakesTheHeadItReads() throws {
        let runs = try OnlineRuns()
        try runs.train(try runs.config("reinforce", params: "{ \"baseline\": \"value\" }"))
        #expect(Files.exists(runs.path("run/value_head.safetensors")))
        let plain = try runs.config("reinforce", params: "{ \"baseline\": \"greedy\" }")
        try runs.train(plain, into: "plain")
        #expect(!Files.exists(runs.path("plain/value_head.safetensors")))
        // The likeliest response is the same for all four samples of a prompt.
        #expect(try runs.lines("plain").first?["baseline"]?.double?.isFinite == true)
    }

    @Test func aReferenceThatFollowsIsInTheCheckpoint() throws {
        let runs = try OnlineRuns()
        let file = try runs.config(
            "rloo",
            train:
                "\"sync_ref_model\": true, \"ref_model_mixup_alpha\": 1, \"ref_model_sync_steps\": 1,"
        )
        try runs.train(file)
        #expect(
            try Files.read(runs.path("run/checkpoint-2/reference/model.safetensors"))
                == Files.read(runs.path("run/checkpoint-2/model.safetensors")))
        // The roll-out of the second step was sampled by what is the reference by then.
        let kl = try runs.lines().compactMap { $0["ref_kl"]?.double }
        #expect(kl.count == 2 && kl.allSatisfy { abs($0) < 1e-5 }, "\(kl)")
        #expect(!Files.exists(runs.path("run/reference")))
    }

    @Test func aReferenceThatCannotFollowIsRefused() throws {
        let runs = try OnlineRuns()
        let file = try runs.config(
            "rloo", params: "{ \"kl_coef\": 0 }", train: "\"sync_ref_model\": true,")
        let error = try #require(runs.failure(file))
        #expect(
            "\(error)".contains("train.sync_ref_model moves a reference, and this run has none"))
        #expect(error.code == .config)
    }

    @Test func pretrainingTextIsPartOfEveryStep() throws {
        let runs = try OnlineRuns()
        let plain = try runs.config("grpo", train: "\"max_steps\": 3,")
        try runs.train(plain, into: "plain")
        try AtomicWrite.file(
            runs.path("ptx.jsonl"),
            (0..<5).map { "{\"prompt\": \"Two and \($0)\", \"completion\": \" make more.\"}\n" }
                .joined())
        let overrides = ["data.ptx=ptx.jsonl", "train.ptx_coef=2"]
        try runs.train(plain, into: "ptx", set: overrides)
        let losses = try runs.lines("ptx").compactMap { $0["loss/ptx"]?.double }
        #expect(losses.count == 3 && losses[2] < losses[0] - 0.05, "\(losses)")
        #expect(try runs.weights("ptx") != runs.weights("plain"))
        #expect(try runs.lines("plain").allSatisfy { $0["loss/ptx"] == nil })
        let error = #expect(throws: (any Error).self) {
            try runs.train(plain, into: "x", set: ["train.ptx_coef=1"])
        }
        #expect(
            "\(try #require(error))".contains("train.ptx_coef is 1.0, but there is no data.ptx"))
        let offline = #expect(throws: (any Error).self) {
            try runs.train(
                plain, into: "y",
                set: overrides + ["objective={\"plugin\": \"sft\"}", "rewards=[]"])
        }
        #expect(
            "\(try #require(offline))".contains(
                "data.ptx is mixed into online training; objective \"sft\" makes no roll-outs"))
    }

    /// The assistant's turns of a conversation are what ptx holds on to, as SFT would train them.
    @Test func pretrainingTextHasMasks() throws {
        let runs = try OnlineRuns()
        try AtomicWrite.file(
            runs.path("chat.jinja"),
            "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
                + "{% if add_generation_prompt %}assistant: {% endif %}")
        let turns = [
            ("user", "One?"), ("assistant", "Two."), ("user", "Three four five?"),
            ("assistant", "Six."),
        ]
        .map { "{\"role\": \"\($0)\", \"content\": \"\($1)\"}" }
        try AtomicWrite.file(
            runs.path("ptx.jsonl"), "{\"messages\": [\(turns.joined(separator: ", "))]}\n")
        let still = ["data.chat_template=chat.jinja", "train.learning_rate=0", "train.max_steps=1"]
        let online = try runs.config("grpo")
        let sft =
            still + [
                "objective={\"plugin\": \"sft\", \"reduction\": \"token_mean\"}", "rewards=[]",
                "data.train=ptx.jsonl", "train.per_device_train_batch_size=1",
                "train.gradient_accumulation_steps=1", "reference=none",
            ]
        func ptx(_ name: String, _ more: [String] = []) throws -> Double {
            try runs.train(
                online, into: name, set: still + ["data.ptx=ptx.jsonl", "train.ptx_coef=1"] + more)
            let losses = try runs.lines(name).compactMap { $0["loss/ptx"]?.double }
            return try #require(losses.first)
        }
        try runs.train(online, into: "sft", set: sft)
        let want = try #require(runs.lines("sft").first?["loss"]?.double)
        #expect(abs(try ptx("ptx") - want) < 1e-5)
        #expect(abs(try ptx("all", ["data.train_on=all"]) - want) > 1e-3)
    }

    /// ReMax's baseline is compared with the rewards, so it is on their scale.
    @Test func aGreedyBaselineIsNormalisedAsTheRewardsAre() throws {
        let runs = try OnlineRuns()
        let file = try runs.config("reinforce", params: "{ \"baseline\": \"greedy\" }")
        try runs.train(file, into: "plain")
        try runs.train(file, into: "scaled", set: ["rewards.0.normalize=normalize"])
        // The normalised rewards of the first roll-out have mean 0, and the greedy ones are of their size.
        let raw = try #require(runs.lines("plain").first?["baseline"]?.double)
        let scaled = try #require(runs.lines("scaled").first?["baseline"]?.double)
        #expect(abs(raw - scaled) > 1e-3, "\(raw) \(scaled)")
        for (key, value) in [
            ("combine.transform", "logit_whiten"), ("combine.rule", "normalize_then_sum"),
        ] {
            let error = #expect(throws: KeelError.self) {
                try runs.train(file, into: "refused", set: ["\(key)=\(value)"])
            }
            #expect(
                try #require(error).what
                    == "\(key) compares the responses of a roll-out, and the baseline of objective \"reinforce\" is one response alone"
            )
        }
    }

    /// Lengths in bytes, shares and counts side by side: each is measured against the other answers to its prompt.
    @Test func rewardsAreNormalisedThenSummed() throws {
        let runs = try OnlineRuns()
        let file = try runs.config(
            "grpo", params: "{ \"scale_rewards\": \"none\" }",
            sections: "\"combine\": { \"rule\": \"normalize_then_sum\" },",
            rewards: """
                { "native": { "library": "libc.so.6", "symbol": "strlen", "signature": "i64(str response)" } },
                { "plugin": "lexicon", "params": { "words": ["the", "a", "of"] }, "weight": 0.5 }, \(OnlineMatrixTests.plain)
                """)
        try runs.train(file)
        let lines = try runs.lines().filter { $0["loss"] != nil }
        #expect(lines.allSatisfy { abs($0["reward"]?.double ?? 1) < 1e-6 })
        #expect(lines.allSatisfy { ($0["rewards/strlen/mean"]?.double ?? 0) > 1 })
        let samples = try Files.readText(runs.path("run/samples.jsonl")).split(separator: "\n")
        let rewards = try samples.map { try JSON.parse(String($0))["reward"]?.double ?? 0 }
        #expect(rewards.contains { $0 != 0 } && rewards.allSatisfy { abs($0) < 5 })
    }

    /// One completion to a prompt is no group: nothing is said of deviations in it.
    @Test func loneCompletionsAreNoGroups() throws {
        let runs = try OnlineRuns()
        let file = try runs.config("ppo", train: "\"max_steps\": 6,")
        try runs.train(file, set: ["train.num_generations=1"])
        let lines = try runs.lines()
        #expect(lines.allSatisfy { $0["frac_reward_zero_std"] == nil && $0["reward_std"] == nil })
        #expect(lines.contains { $0["reward"] != nil })
    }

    @Test func aCollapseStopsWithACheckpoint() throws {
        let runs = try OnlineRuns()
        let file = try runs.config(
            "grpo",
            train: """
                "max_steps": 9, "on_collapse": "stop", "collapse_patience": 3,
                "collapse_clipped_ratio": 0.0,
                """)
        let error = try #require(runs.failure(file))
        #expect(error.code == .stopped)
        let text = "\(error)"
        #expect(text.contains("the policy has collapsed, 3 roll-outs in a row"))
        #expect(text.contains("are cut at the length limit (collapse_clipped_ratio 0.0)"))
        #expect(text.contains("the checkpoint of step 2"))
        #expect(Files.exists(runs.path("run/checkpoint-2")))
        // As the message says: it goes on when told to.
        #expect(
            try runs.train(file, resume: .auto, set: ["train.on_collapse=warn"]) == .ok)
    }

    /// Rates that blow the weights up: the error names step, rows, and the weights it began in.
    @Test(arguments: [
        ("1e30", "the gradient became nan: in model.embed_tokens.weight"),
        ("1e300", "the loss became nan: the weight model.embed_tokens.weight is not finite"),
    ])
    func numbersThatAreNotFiniteAreLocated(_ rate: String, _ words: String) throws {
        let runs = try OnlineRuns()
        let file = try runs.config(
            "grpo", train: "\"num_iterations\": 2, \"max_grad_norm\": 0, \"max_steps\": 2,")
        let error = #expect(throws: (any Error).self) {
            try runs.train(file, set: ["train.learning_rate=\(rate)"])
        }
        let text = "\(try #require(error))"
        #expect(text.contains(words))
        #expect(text.contains("step 2, row"), "\(text)")
    }
}

/// What a roll-out says of the state of training.
struct RolloutHealthTests {
    private func rollout(
        old: [[Double]], ref: [[Double]]? = nil, ids: [[Int32]], finished: [Bool],
        rewards: [Double]
    ) -> Rollout {
        Rollout(
            rows: ids.enumerated().map {
                TokenizedRow(index: $0.offset, prompt: [1], completions: [$0.element])
            }, group: ids.map { _ in 0 }, oldLogprobs: old, behaviorLogprobs: old,
            refLogprobs: ref, rewards: rewards, isFinished: finished, metrics: [:])
    }

    @Test func perplexityKLAndQuantiles() throws {
        let health = RolloutHealth(
            rollout(
                old: [[-1, -2], [-3]], ref: [[-2, -2], [-1]], ids: [[5, 6], [7]],
                finished: [true, false], rewards: [1, 3]))
        let metrics = health.metrics
        let close = { (name: String, want: Double) in
            #expect(
                abs((metrics[name] ?? .nan) - want) < 1e-12, "\(name): \(metrics[name] ?? .nan)")
        }
        close("policy/ppl", exp(2))
        close("ref/ppl", exp(5.0 / 3))
        close("ref_kl", (0.5 - 2) / 2)
        close("objective/kl", (1 - 2) / 2)
        close("res_len", 1.5)
        close("completions/unique_ratio", 1)
        close("reward/p50", 2)
        close("reward/p90", 2.8)
        #expect(health.clippedRatio == 0.5)
    }

    @Test func samenessIsACollapseOfItsOwn() throws {
        var train = TrainConfig()
        train.onCollapse = .stop
        train.collapsePatience = 2
        let same = RolloutHealth(
            rollout(
                old: Array(repeating: [-0.1], count: 20), ids: Array(repeating: [9], count: 20),
                finished: Array(repeating: true, count: 20),
                rewards: Array(repeating: 1, count: 20)))
        let fine = RolloutHealth(
            rollout(
                old: Array(repeating: [-0.1], count: 20), ids: (0..<20).map { [$0] },
                finished: Array(repeating: true, count: 20),
                rewards: Array(repeating: 1, count: 20)))
        var watch = CollapseGuard(train)
        // One good roll-out in between begins the count again; a checkpoint keeps it.
        try watch.look(at: same, step: 0)
        try watch.look(at: fine, step: 1)
        try watch.look(at: same, step: 2)
        var resumed = CollapseGuard(train)
        resumed.restore(watch.json)
        let error = #expect(throws: KeelError.self) { try resumed.look(at: same, step: 3) }
        #expect("\(try #require(error))".contains("only 5 % of completions differ"))
    }
}
