import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// A policy that has become better by enough is the next reference, and all that follows is that reference's.
@Suite struct ReferenceUpdateTests {
    private let files: TrainingFolder

    init() throws {
        files = try TrainingFolder()
        try files.folder.write("scored.jsonl", ReferenceUpdateTests.scored(12))
        try files.folder.write("held.jsonl", ReferenceUpdateTests.scored(6))
    }

    private static func scored(_ count: Int) -> String {
        (0..<count).map { i in
            let row: JSON = [
                "prompt": .string("Tell me \(i / 2 + 1) things about tea."),
                "completion": .string(i % 2 == 0 ? " tea needs time." : " who knows"),
                "reward": .double(i % 2 == 0 ? 0.9 : 0.6),
            ]
            return row.text() + "\n"
        }.joined()
    }

    /// The answers are judged by their length: at this learning rate they soon are as long as those of the rows.
    private func config(
        _ name: String, objective: String = "alol", params: String = "{ \"value_epochs\": 2 }",
        data: String = "scored.jsonl", valid: String = "held.jsonl", train: String = ""
    ) throws -> String {
        try files.folder.write(
            "\(name).json",
            """
            { "model": { "path": "base" },
              "data": { "train": "\(data)", "valid": "\(valid)", "max_completion_length": 12 },
              "objective": { "plugin": "\(objective)", "params": \(params) },
              "rewards": [ { "plugin": "length", "params": { "target": 16 } } ],
              "sampler": { "plugin": "greedy" }, "order": { "plugin": "priority" },
              "value_head": { "heads": 4, "learning_rate": 1e-2, "dropout": 0 },
              "train": { "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "max_steps": 8,
                "logging_steps": 3, "save_steps": 1, "learning_rate": 2e-2, "lr_scheduler_type": "constant", \(train)
                "eval_steps": 1, "eval_generations": true, "ref_model_update_threshold": 0 },
              "output_dir": "\(name)" }
            """)
        return "\(name).json"
    }

    private func steps(_ run: String) throws -> [JSONObject] {
        try files.metrics(run).filter { $0["loss"] != nil }
    }

    private func weights(_ path: String) throws -> [UInt8] {
        try Files.read(files.path("\(path)/model.safetensors"))
    }

    /// The steps after which an evaluation counts one update more than the one before it.
    private func updates(_ run: String) throws -> [Int] {
        var before = 0
        return try files.metrics(run).compactMap { line in
            guard let count = line["eval_reference/updates"]?.int, count > before else {
                return nil
            }
            before = count
            return line["step"]?.int
        }
    }

    @Test func aBetterPolicyBecomesTheReference() throws {
        let file = try config("alol")
        let outcome = try files.train(file, into: "whole")
        #expect(outcome.code == 0, "\(outcome.errors)")
        let turns = try updates("whole")
        let turn = try #require(turns.first, "\(outcome.errors)")
        #expect(outcome.errors.contains("the policy is the reference from here on (update 1)"))

        // Every reference but the first is the policy of its evaluation, and was better than the one before.
        for turn in turns {
            #expect(
                try weights("whole/checkpoint-\(turn)/reference")
                    == weights("whole/checkpoint-\(turn)"))
        }
        let marks = try files.metrics("whole").compactMap {
            $0["eval_reference/baseline"]?.double
        }
        #expect(marks == marks.sorted() && Set(marks).count == turns.count + 1)

        // Behind it: a value phase of the new reference's own answers, then ratios of exactly 1.
        let lines = try steps("whole")
        let after = lines.filter { $0["step"]?.int ?? 0 > turn }
        #expect(after.allSatisfy { $0["reference/updates"]?.double ?? 0 >= 1 })
        let value = try #require(after.first)
        #expect(value["phase"]?.string == "value")
        let judged = try files.metrics("whole").first {
            $0["eval_reward"] != nil && $0["step"]?.int == turn
        }
        let reward = try #require(judged?["eval_reward"]?.double)
        let rollouts = try #require(value["value_head/rollout_reward_mean"]?.double)
        #expect(abs(rollouts - reward) < 1e-12)
        // (phase, updates) of the steps: value and policy by turns, and the policy's eight steps in all.
        let policy = lines.filter { $0["phase"]?.string == "policy" }
        #expect(policy.last?["step"]?.int == lines.last?["step"]?.int)
        let steps = 8 + 2 * (turns.count + 1)
        #expect(lines.last?["step"]?.int == steps)
        #expect(outcome.errors.contains("step \(steps)/\(steps)"))
        for number in 0...turns.count {
            let first = try #require(
                policy.first { $0["reference/updates"]?.int == number }, "after update \(number)")
            #expect(first["alol/advantage_mean"] != nil && first["alol/kept_fraction"] != nil)
        }
    }

    /// The first step behind an update is the first step of a run from the policy that became the reference:
    /// same answers, head, advantages, kept rows and ratios.
    @Test func whatFollowsIsTheNewReferences() throws {
        let file = try config("alol")
        let settings = ["--set", "train.logging_steps=1"]
        let outcome = try files.train(file, into: "whole", settings)
        #expect(outcome.code == 0, "\(outcome.errors)")
        let turn = try #require(try updates("whole").first)
        let chained = try files.train(
            file, into: "chained", settings + ["--set", "model.path=whole/checkpoint-\(turn)"])
        #expect(chained.code == 0, "\(chained.errors)")
        let then = try steps("whole").filter { $0["step"]?.int ?? 0 > turn }
        let fresh = try steps("chained")
        for number in 0..<2 {
            #expect(then[number]["phase"]?.string == "value")
            for key in ["loss", "alol/value_mse", "value_head/epoch_mse", "grad_norm"] {
                #expect(then[number][key] == fresh[number][key], "\(key) of step \(number)")
            }
        }
        let keys = [
            "alol/advantage_p0", "alol/advantage_p50", "alol/advantage_p100", "alol/kept_fraction",
            "alol/value_mean",
        ]
        for key in keys { #expect(then[2][key] == fresh[2][key], "\(key)") }
        for key in ["alol/ratio_mean", "alol/ratio_min", "alol/ratio_max"] {
            #expect(then[2][key]?.double == 1, "\(key)")
        }
    }

    /// Resumed from every checkpoint of a run with updates, with and without caches, the end is the same.
    @Test func resumedAnywhere() throws {
        let file = try config("alol", train: "\"load_best_model_at_end\": true,")
        let outcome = try files.train(file, into: "whole")
        #expect(outcome.code == 0, "\(outcome.errors)")
        let turn = try #require(try updates("whole").first)
        let last = try #require(try steps("whole").last?["step"]?.int)
        let expected = try weights("whole")
        let log = try evaluations("whole")
        for step in 1..<last where abs(step - turn) < 5 || step % 3 == 0 {
            try Files.remove(files.path("again"))
            try FileManager.default.createDirectory(
                atPath: files.path("again"), withIntermediateDirectories: true)
            for name in ["checkpoint-\(step)", "keel_run.json", "metrics.jsonl", "best"]
            where Files.exists(files.path("whole/\(name)")) {
                try FileManager.default.copyItem(
                    atPath: files.path("whole/\(name)"), toPath: files.path("again/\(name)"))
            }
            if step % 2 == 0 { try Files.remove(files.path(".cache")) }
            let resumed = try files.train(file, into: "again", ["--resume", "auto"])
            #expect(resumed.code == 0, "from step \(step): \(resumed.errors)")
            #expect(try weights("again") == expected, "from step \(step)")
            #expect(try evaluations("again") == log, "from step \(step)")
        }
    }

    /// A reference that does better than every row ends the run with a checkpoint, and another run of it with the caches
    /// of this one: what they hold belongs to the reference it was computed with.
    @Test func nothingLeftToLearn() throws {
        try files.folder.write(
            "low.jsonl",
            ReferenceUpdateTests.scored(12).replacingOccurrences(of: "0.9", with: "0.3")
                .replacingOccurrences(of: "0.6", with: "0.3"))
        let file = try config("low", data: "low.jsonl")
        let settings = ["--set", "value_head.learning_rate=0.3"]
        for run in ["low", "again"] {
            let outcome = try files.train(file, into: run, settings)
            #expect(outcome.code == ExitCode.stopped.rawValue, "\(outcome.errors)")
            #expect(
                outcome.errors.contains("objective \"alol\" keeps none of the 12 rows")
                    && outcome.errors.contains("go on with --resume auto"), "\(outcome.errors)")
        }
        #expect(!(try updates("low").isEmpty))
        #expect(try files.metrics("again") == files.metrics("low"))
    }

    private func evaluations(_ run: String) throws -> [[JSON?]] {
        try files.metrics(run).filter { $0["eval_reward"] != nil }.map { line in
            ["step", "eval_reward", "eval_reference/updates", "eval_reference/baseline"].map {
                line[$0]
            }
        }
    }

    /// Without a value phase the reference's log-probs alone are new: DPO's loss is ln 2 again.
    @Test func dpoBeginsAgainAtItsStart() throws {
        let file = try config(
            "dpo", objective: "dpo", params: "{}", data: "train.jsonl", valid: "valid.jsonl",
            train: "\"eval_on_start\": true,")
        let settings = [
            "--set", "train.logging_steps=1", "--set", "order.plugin=shuffle",
        ]
        let outcome = try files.train(file, into: "dpo", settings)
        #expect(outcome.code == 0, "\(outcome.errors)")
        let turns = try updates("dpo")
        #expect(!turns.isEmpty, "\(outcome.errors)")
        let lines = try steps("dpo")
        #expect(lines.count == 8)
        for line in lines {
            guard let step = line["step"]?.int, let loss = line["loss"]?.double else { continue }
            let isFresh = step == 1 || turns.contains(step - 1)
            #expect((abs(loss - 0.6931471805599453) < 1e-7) == isFresh, "step \(step): \(loss)")
        }
        let expected = try weights("dpo")
        for name in try Files.list(files.path("dpo"))
        where name.hasPrefix("checkpoint-") && name != "checkpoint-\(turns[0])" {
            try Files.remove(files.path("dpo/\(name)"))
        }
        try Files.remove(files.path("dpo/model.safetensors"))
        let resumed = try files.train(file, into: "dpo", settings + ["--resume", "auto"])
        #expect(resumed.code == 0, "\(resumed.errors)")
        #expect(try weights("dpo") == expected)
    }

    @Test(arguments: [
        (["train.ref_model_update_threshold=-1"], "train.ref_model_update_threshold"),
        (
            ["train.eval_generations=false"],
            "compares evaluations of the policy's answers, and the config asks for none"
        ),
        (
            ["train.metric_for_best_model=eval_loss"],
            "cannot go by \"eval_loss\", which changes with the reference"
        ),
        (["model.lora={\"r\":2}"], "needs a reference of its own"),
        (
            ["objective.plugin=rloo", "train.num_generations=2"],
            "moves the reference after evaluations of a run over rows"
        ),
        (["objective.plugin=rlol"], "set train.eval_on_start to true"),
        (["objective.plugin=wbc"], "moves a reference, and this run has none"),
        (
            ["data.train=valued.jsonl", "train.eval_on_start=true"],
            "the rows' \"seq_values\" stay those of the first"
        ),
        (
            ["train.ref_model_update_threshold=null", "train.sync_ref_model=true"],
            "use train.ref_model_update_threshold, or remove train.sync_ref_model"
        ),
    ])
    func whatCannotWorkIsSaid(_ settings: [String], _ text: String) throws {
        try files.folder.write(
            "valued.jsonl",
            ReferenceUpdateTests.scored(12).replacingOccurrences(
                of: "\"reward\"", with: "\"seq_values\":0.5,\"reward\""))
        let isOther = settings.contains { $0.hasPrefix("objective") }
        let params = isOther ? "{}" : "{ \"value_epochs\": 2 }"
        let file = try config("bad", params: params)
        let outcome = try files.train(file, into: "bad", settings.flatMap { ["--set", $0] })
        #expect(outcome.code != 0)
        #expect(outcome.errors.contains(text), "\(outcome.errors)")
        #expect(!Files.exists(files.path("bad/metrics.jsonl")))
    }
}
