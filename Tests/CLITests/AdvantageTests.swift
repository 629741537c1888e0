import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// Offline objectives that need more than rows: values of prompts, priorities, a slow copy of the policy.
@Suite struct AdvantageTests {
    private let files: TrainingFolder

    init() throws {
        files = try TrainingFolder()
        // The chosen answers are the longer ones: `length` tells them apart.
        try files.folder.write("scored.jsonl", AdvantageTests.scored(12))
        try files.folder.write("held.jsonl", AdvantageTests.scored(6))
    }

    private static func scored(_ count: Int, values: Bool = false) -> String {
        (0..<count).map { i in
            var row: JSONObject = [
                "prompt": .string("Tell me \(i / 2 + 1) things about tea."),
                "completion": .string(i % 2 == 0 ? " tea needs time." : " who knows"),
                "reward": .double(i % 2 == 0 ? 0.9 : 0.2),
            ]
            if values { row["seq_values"] = .double(i < 4 ? 0.5 : 0.95) }
            return JSON.object(row).text() + "\n"
        }.joined()
    }

    private func config(
        _ name: String, objective: String, params: String = "{}", sections: String = "",
        data: String = "\"train\": \"scored.jsonl\", \"valid\": \"held.jsonl\"",
        train: String = "\"max_steps\": 6"
    ) throws -> String {
        try files.folder.write(
            "\(name).json",
            """
            { "model": { "path": "base" }, "data": { \(data), "max_completion_length": 8 },
              "objective": { "plugin": "\(objective)", "params": \(params) }, \(sections)
              "value_head": { "heads": 4, "learning_rate": 1e-2 },
              "train": { "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, \(train),
                "logging_steps": 1, "save_steps": 1, "learning_rate": 1e-3 },
              "output_dir": "\(name)" }
            """)
        return "\(name).json"
    }

    private func losses(_ run: String) throws -> [JSONObject] {
        try files.metrics(run).filter { $0["loss"] != nil }
    }

    /// Values are fitted to the rewards of the reference's own responses; advantages filter the rows; the end is the
    /// same whether or not the run was interrupted, and whether or not the responses were cached.
    @Test func fromRolloutsToThePolicy() throws {
        let file = try config(
            "alol", objective: "alol", params: "{ \"value_epochs\": 3 }",
            sections: """
                "rewards": [ { "plugin": "length", "params": { "target": 12 } } ],
                "order": { "plugin": "priority" },
                """)
        let outcome = try files.train(file, into: "whole")
        #expect(outcome.code == 0, "\(outcome.errors)")
        #expect(outcome.errors.contains("the reference answers 3 prompts, 1 times each"))
        let steps = try losses("whole")
        let value = steps.filter { $0["phase"]?.string == "value" }
        #expect(value.count == 3)  // three rows, four a step, three epochs
        #expect(value.first?["value_head/rollouts"]?.double == 3)
        #expect(value.allSatisfy { $0["alol/value_mse"] != nil && $0["entropy"] == nil })
        let policy = steps.filter { $0["phase"]?.string == "policy" }
        #expect(policy.count == 6)
        let first = try #require(policy.first)
        #expect(first["alol/ratio_mean"]?.double == 1)
        let kept = try #require(first["alol/kept_fraction"]?.double)
        #expect(kept > 0 && kept < 1)
        #expect(first["alol/advantage_p100"]?.double ?? 0 > 0)
        #expect(first["priority/drawable_fraction"]?.double == 1)

        let again = try files.train(file, into: "again")
        #expect(again.code == 0 && !again.errors.contains("the reference answers"))
        #expect(!outcome.errors.contains("the value head is kept"))
        #expect(again.errors.contains("the value head is kept from an earlier run"))
        let bytes = try Files.read(files.path("whole/model.safetensors"))
        #expect(try Files.read(files.path("again/model.safetensors")) == bytes)
        // 4: in the middle of an epoch of the kept rows.
        for step in [2, 4, 5] {
            try Files.remove(files.path("again"))
            try FileManager.default.createDirectory(
                atPath: files.path("again"), withIntermediateDirectories: true)
            for name in ["checkpoint-\(step)", "keel_run.json", "metrics.jsonl"] {
                try FileManager.default.copyItem(
                    atPath: files.path("whole/\(name)"), toPath: files.path("again/\(name)"))
            }
            let resumed = try files.train(file, into: "again", ["--resume", "auto"])
            #expect(resumed.code == 0, "\(resumed.errors)")
            #expect(
                try Files.read(files.path("again/model.safetensors")) == bytes, "from step \(step)")
            #expect(
                try Files.read(files.path("again/value_head.safetensors"))
                    == Files.read(files.path("whole/value_head.safetensors")))
        }
    }

    /// A head is trained once for the same rows and settings: the second run logs what the first one logged, is
    /// interrupted and resumed as any other, and another learning rate or damage to the cache train it anew.
    @Test func aTrainedHeadIsKept() throws {
        let file = try config(
            "kept", objective: "alol_ref_free", params: "{ \"value_epochs\": 2 }",
            sections: "\"rewards\": [],", data: "\"train\": \"scored.jsonl\"",
            train: "\"max_steps\": 2")
        let note = "the value head is kept from an earlier run"
        let plain = { (run: String) in
            try losses(run).map { line in
                JSON.object(
                    JSONObject(
                        pairs: line.pairs.filter { !$0.key.hasPrefix("perf/") }.map {
                            ($0.key, $0.value)
                        }))
            }
        }
        let first = try files.train(file, into: "first")
        #expect(first.code == 0 && !first.errors.contains(note), "\(first.errors)")
        let second = try files.train(file, into: "second")
        #expect(second.code == 0 && second.errors.contains(note), "\(second.errors)")
        #expect(try plain("second") == plain("first"))
        #expect(try plain("second").contains { $0["phase"]?.string == "value" })
        for name in ["model.safetensors", "value_head.safetensors"] {
            #expect(
                try Files.read(files.path("first/\(name)"))
                    == Files.read(files.path("second/\(name)")), "\(name)")
        }
        // From a checkpoint in the middle of the phase that was not made.
        let bytes = try Files.read(files.path("first/model.safetensors"))
        for name in try Files.list(files.path("second"))
        where name.hasPrefix("checkpoint-") && name != "checkpoint-2" {
            try Files.remove(files.path("second/\(name)"))
        }
        try Files.remove(files.path("second/model.safetensors"))
        let resumed = try files.train(file, into: "second", ["--resume", "auto"])
        #expect(resumed.code == 0, "\(resumed.errors)")
        #expect(try Files.read(files.path("second/model.safetensors")) == bytes)

        let other = try files.train(
            file, into: "other", ["--set", "value_head.learning_rate=1e-3"])
        #expect(other.code == 0 && !other.errors.contains(note))
        let caches = files.path(".cache/keel/value_heads")
        let heads = try Files.list(caches)
        #expect(heads.count == 2)
        for head in heads {
            let weights = Files.join(Files.join(caches, head), "value_head.safetensors")
            var damaged = try Files.read(weights)
            damaged[damaged.count - 1] ^= 1
            try AtomicWrite.file(weights, damaged)
        }
        let anew = try files.train(file, into: "anew")
        #expect(anew.code == 0 && !anew.errors.contains(note), "\(anew.errors)")
        #expect(try Files.read(files.path("anew/model.safetensors")) == bytes)
    }

    /// The data's own values leave the head out: prompts worth more than any reward are filtered.
    @Test func valuesOfTheDataNeedNoHead() throws {
        try files.folder.write("valued.jsonl", AdvantageTests.scored(12, values: true))
        let file = try config(
            "given", objective: "alol_ref_free", data: "\"train\": \"valued.jsonl\"",
            train: "\"max_steps\": 2")
        let outcome = try files.train(file, into: "given")
        #expect(outcome.code == 0, "\(outcome.errors)")
        let steps = try losses("given")
        #expect(steps.count == 2 && steps.allSatisfy { $0["phase"] == nil })
        #expect(steps[0]["alol/kept_fraction"]?.double == 2.0 / 12)
        #expect(!Files.exists(files.path("given/value_head.safetensors")))
    }

    @Test func aKeptRowIsABetterOneOfItsPrompt() throws {
        try files.folder.write(
            "mean.json",
            """
            { "model": { "path": "base" }, "data": { "train": "scored.jsonl" },
              "objective": { "plugin": "alol" }, "value_head": { "source": "prompt_mean" },
              "train": { "per_device_train_batch_size": 4, "max_steps": 2, "logging_steps": 1, "save_steps": 0 },
              "output_dir": "mean" }
            """)
        let outcome = try files.train("mean.json", into: "mean")
        #expect(outcome.code == 0, "\(outcome.errors)")
        let first = try #require(try losses("mean").first)
        #expect(first["alol/kept_fraction"]?.double == 0.5)
        #expect(abs(try #require(first["alol/advantage_p100"]?.double) - 0.35) < 1e-12)
    }

    /// At a sync the copy is the policy, later it stays behind it.
    @Test func theSlowCopyFollows() throws {
        let file = try config(
            "gold", objective: "gold", params: "{ \"variant\": \"delta\", \"iw_min\": 0 }",
            sections: "\"old_policy\": { \"sync_steps\": 2, \"sync_epochs\": false },",
            data: "\"train\": \"scored.jsonl\"")
        let outcome = try files.train(file, into: "gold")
        #expect(outcome.code == 0, "\(outcome.errors)")
        let bytes = try Files.read(files.path("gold/model.safetensors"))
        #expect(Files.exists(files.path("gold/checkpoint-3/old_policy.safetensors")))
        #expect(!Files.exists(files.path("gold/old_policy.safetensors")))
        for name in ["checkpoint-4", "checkpoint-5", "checkpoint-6", "model.safetensors"] {
            try Files.remove(files.path("gold/\(name)"))
        }
        let resumed = try files.train(file, into: "gold", ["--resume", "auto"])
        #expect(resumed.code == 0, "\(resumed.errors)")
        #expect(try Files.read(files.path("gold/model.safetensors")) == bytes)
    }

    @Test(arguments: [
        (
            "alol", "{ \"value_epochs\": 0 }", "\"train\": \"scored.jsonl\"",
            "no phase fits the value head, and the rows have no \"seq_values\""
        ),
        (
            "wbc", "{}", "\"train\": \"bad.jsonl\"",
            "row 1 has the reward -1.0, and wbc needs rewards of 0 and more: set reward_shift to 1.0"
        ),
        (
            "alol_ref_free", "{}", "\"train\": \"low.jsonl\"", "keeps none of the 12 rows"
        ),
    ])
    func whatCannotWorkIsSaid(
        _ objective: String, _ params: String, _ data: String, _ text: String
    ) throws {
        try files.folder.write(
            "bad.jsonl", AdvantageTests.scored(12).replacingOccurrences(of: "0.2", with: "-1"))
        try files.folder.write(
            "low.jsonl",
            AdvantageTests.scored(12, values: true).replacingOccurrences(of: "0.9}", with: "0}")
                .replacingOccurrences(of: "\"reward\":0.9", with: "\"reward\":0.1"))
        let file = try config("bad", objective: objective, params: params, data: data)
        let outcome = try files.train(file, into: "bad")
        #expect(outcome.code != 0)
        #expect(outcome.errors.contains(text), "\(outcome.errors)")
    }
}
