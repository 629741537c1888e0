import Foundation
import KeelBridge
import KeelCore
import KeelModel
import KeelTensor
import KeelTestSupport
import Testing

@testable import KeelHost

/// Whole runs with phases and heads: what they write, and that going on from any checkpoint gives the same bits.
@Suite(.serialized) struct PhaseRunTests {
    let folder: String

    init() throws {
        folder =
            FileManager.default.temporaryDirectory.appendingPathComponent(
                "keel-phase-runs-\(UUID().uuidString)"
            ).path
        try Files.makeDirectory(folder)
        var config = PhaseBench.modelConfig
        config["vocab_size"] = 3800
        let tokenizer = PhaseBench.root.appendingPathComponent(
            "Tests/Fixtures/tokenizers/smollm_style"
        ).path
        try AtomicWrite.file(path("model.json"), JSON.object(config).text())
        try ModelCommand.initialise(
            config: path("model.json"), tokenizer: tokenizer, seed: 3, out: path("base"),
            threads: 2)
        let rows = (0..<12).map { i -> String in
            let row: JSON = [
                "prompt": .string("Say \(i)."), "chosen": .string(" \(i) it is"),
                "rejected": .string(" no\(i % 3)"), "margin": .double(Double(i % 4) / 4 + 0.1),
            ]
            return row.text() + "\n"
        }
        try AtomicWrite.file(path("train.jsonl"), rows.joined())
        try AtomicWrite.file(path("valid.jsonl"), rows.prefix(3).joined())
    }

    func path(_ name: String) -> String { Files.join(folder, name) }

    /// Writes a config; the sections of a test go before those of all.
    func config(
        _ objective: String, _ sections: String = "", train: String = "", params: String = "{}",
        valid: Bool = true
    ) throws -> String {
        let library = try PhaseBench.library.get()
        let file = path("\(objective).json")
        try AtomicWrite.file(
            file,
            """
            {
              "model": { "path": "base" }, \(sections)
              "data": { "train": "train.jsonl", \(valid ? "\"valid\": \"valid.jsonl\"," : "")
                "max_length": 60, "max_completion_length": 6 },
              "objective": { "plugin": "\(library)#\(objective)", "params": \(params) },
              "sampler": { "plugin": "\(library)#plain" }, "order": { "plugin": "\(library)#rotated" },
              "train": { "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2,
                \(train) "learning_rate": 1e-2, "warmup_steps": 2, "logging_steps": 1, "save_steps": 1,
                "seed": 11, "threads": 2 },
              "output_dir": "run"
            }
            """)
        return file
    }

    @discardableResult
    private func train(
        _ config: String, into run: String, resume: ResumeMode = .never
    ) throws -> ExitCode {
        var options = TrainCommand.Options(configPath: config)
        options.outputDir = path(run)
        options.resume = resume
        return try TrainCommand.run(
            options, progress: Progress(terminal: Terminal(isInteractive: false), isQuiet: true))
    }

    private func lines(_ run: String) throws -> [JSONObject] {
        try Files.readText(path("\(run)/metrics.jsonl")).split(separator: "\n").map {
            let object = try #require(try JSON.parse(String($0)).object)
            return JSONObject(
                pairs: object.filter { key, _ in
                    !key.hasPrefix("reward_calls/") && !key.hasPrefix("perf/")
                        && !key.contains("_per_second")
                        && !key.hasSuffix("_runtime")
                }.map { ($0.key, $0.value) })
        }
    }

    /// Goes on from every checkpoint of a finished run, in a folder of its own, and expects the same end.
    private func expectResumes(_ config: String, _ run: String, files: [String]) throws {
        let steps = CheckpointStore(directory: path(run)).steps()
        let last = try #require(steps.last)
        let whole = try lines(run)
        for step in steps.dropLast() {
            let other = "\(run)-from-\(step)"
            try FileManager.default.copyItem(atPath: path(run), toPath: path(other))
            for later in steps where later > step {
                try Files.remove(path("\(other)/checkpoint-\(later)"))
            }
            #expect(
                try train(
                    config, into: other, resume: .checkpoint(path("\(other)/checkpoint-\(step)")))
                    == .ok)
            for file in files {
                #expect(
                    try Files.read(path("\(run)/\(file)")) == Files.read(path("\(other)/\(file)")),
                    "\(file) from step \(step)")
                let inner = "checkpoint-\(last)/\(file)"
                #expect(
                    try Files.read(path("\(run)/\(inner)"))
                        == Files.read(path("\(other)/\(inner)")),
                    "\(inner) from step \(step)")
            }
            let again = try lines(other)
            #expect(again == whole, "metrics from step \(step)")
        }
    }

    /// A value head is trained, then the rows above its values are kept and the policy is trained on them.
    @Test func aValuePhaseThenThePolicy() throws {
        let file = try config(
            "two_phases", "\"value_head\": { \"learning_rate\": 0.05, \"heads\": 4 },",
            train: "\"num_train_epochs\": 2, \"eval_steps\": 2,")
        #expect(try train(file, into: "run") == .ok)
        let metrics = try lines("run")
        let phases = metrics.compactMap { $0["phase"]?.string }
        #expect(phases.first == "value" && phases.last == "policy")
        let value = metrics.filter { $0["phase"]?.string == "value" && $0["loss"] != nil }
        #expect(value.map { $0["step"]?.int } == [1, 2, 3, 4])
        #expect(value.allSatisfy { $0["entropy"] == nil && $0["value"] != nil })
        // Each phase has a schedule of its own: warm-up over two steps, then down.
        #expect(value.map { $0["learning_rate"]?.double } == [0, 0.025, 0.05, 0.025])
        let policy = metrics.filter { $0["phase"]?.string == "policy" && $0["loss"] != nil }
        #expect(policy.first?["learning_rate"]?.double == 0)
        // What prepare said about the data set is logged once, with the first step.
        let kept = try #require(policy.first?["kept"]?.double)
        #expect(kept > 0 && kept < 1)
        #expect(policy.dropFirst().allSatisfy { $0["kept"] == nil })
        let rows = Int((kept * 12).rounded())
        #expect(policy.count == 2 * ((rows + 3) / 4))
        #expect(metrics.contains { $0["eval_value"] != nil && $0["step"]?.int == 4 })
        #expect(metrics.contains { $0["eval_kept"] != nil })
        // The value phase leaves the policy as it was.
        let base = try SafetensorsFile(path("base/model.safetensors"))
        let after = try SafetensorsFile(path("run/checkpoint-4/model.safetensors"))
        for entry in base.entries {
            let other = try #require(after[entry.name])
            #expect(try base.bytes(entry) == after.bytes(other))
        }
        #expect(Files.exists(path("run/checkpoint-2/optimizer.value_head.safetensors")))
        try expectResumes(
            file, "run", files: ["model.safetensors", "value_head.safetensors"])
    }

    /// The length of a phase: 0 leaves it out, the config goes before the plugin.
    @Test func phasesTakeTheirLengthFromTheConfig() throws {
        let file = try config(
            "two_phases",
            "\"phases\": { \"value\": { \"max_steps\": 2, \"learning_rate\": 0.3 } },",
            train: "\"max_steps\": 3,")
        #expect(try train(file, into: "run") == .ok)
        let losses = try lines("run").filter { $0["loss"] != nil }
        #expect(
            losses.map { $0["phase"]?.string } == ["value", "value", "policy", "policy", "policy"])
        #expect(losses[1]["learning_rate"]?.double == 0.15)
        let none = try config(
            "two_phases", train: "\"max_steps\": 3,",
            params: "{ \"value_steps\": 0, \"above\": -9 }")
        #expect(try train(none, into: "none") == .ok)
        #expect(try lines("none").filter { $0["loss"] != nil }.count == 3)
    }

    @Test func aFilterThatKeepsNothingIsAnErrorWithACheckpoint() throws {
        let file = try config("two_phases", train: "\"max_steps\": 3,", params: "{ \"above\": 50 }")
        let error = #expect(throws: KeelError.self) { try train(file, into: "run") }
        #expect(
            error?.what
                == "objective \"two_phases\" keeps none of the 12 rows: every weight is 0")
        #expect(error?.code == .stopped)
        #expect(error?.fix?.contains("checkpoint of step 4") == true)
    }

    /// Policy and critic over roll-outs, after a phase of the critic alone.
    @Test func aCriticThenBoth() throws {
        let library = try PhaseBench.library.get()
        let file = try config(
            "actor_critic",
            """
            "critic": { "learning_rate": 0.02, "max_grad_norm": 0.5 },
            "rewards": [{ "plugin": "\(library)#brief", "run": { "isolate": "none" } }],
            """, train: "\"num_generations\": 2, \"rollout_batch_size\": 8, \"max_steps\": 4,",
            params: "{ \"critic_steps\": 3 }", valid: false)
        #expect(try train(file, into: "run") == .ok)
        let losses = try lines("run").filter { $0["loss"] != nil }
        #expect(
            losses.map { $0["phase"]?.string }
                == ["critic", "critic", "critic", "policy", "policy", "policy", "policy"])
        #expect(losses[6]["grad_norm/critic"] != nil)
        #expect(losses[4]["learning_rate"]?.double == 0.005)
        #expect(losses[4]["learning_rate/critic"]?.double == 0.01)
        #expect(losses[0]["grad_norm/critic"] == nil)
        // The critic is a folder that transformers loads, and starts with values of 0.
        let critic = try Model.load(
            directory: path("run/critic"), dtype: .f32, device: PhaseBench.device)
        #expect(critic.architecture.outputs == .score)
        #expect(
            critic.parameter(named: "score.weight")?.master.doubles().contains { $0 != 0 } == true)
        #expect(Files.exists(path("run/critic/tokenizer.json")))
        try expectResumes(
            file, "run",
            files: ["model.safetensors", "critic/model.safetensors"])
    }

    /// The critic may be a value head on the policy instead.
    @Test func aValueHeadAsCritic() throws {
        let library = try PhaseBench.library.get()
        let file = try config(
            "actor_critic",
            """
            "critic": { "kind": "value_head" },
            "rewards": [{ "plugin": "\(library)#brief", "run": { "isolate": "none" } }],
            """, train: "\"num_generations\": 2, \"max_steps\": 3,", valid: false)
        #expect(try train(file, into: "run") == .ok)
        #expect(!Files.exists(path("run/critic")))
        let losses = try lines("run").filter { $0["loss"] != nil }
        #expect(losses[2]["grad_norm/value_head"]?.double ?? 0 > 0)
        try expectResumes(file, "run", files: ["model.safetensors", "value_head.safetensors"])
    }

    /// A language model becomes a reward model that can be loaded, scored and trained on.
    @Test(arguments: ["rank", "rank_and_write"])
    func aRewardModel(objective: String) throws {
        let file = try config(objective, train: "\"max_steps\": 3,")
        #expect(try train(file, into: "run") == .ok)
        let config = try ModelConfig(path: path("run/config.json"))
        #expect(config.architectures == ["LlamaForSequenceClassification"])
        let model = try Model.load(
            directory: path("run"), dtype: .f32, device: PhaseBench.device)
        #expect(try (model.scores([[5, 6, 7]]) as [Float]).allSatisfy(\.isFinite))
        let names = try WeightFiles(directory: path("run")).names
        #expect(names.contains("lm_head.weight") == (objective == "rank_and_write"))
        #expect(try lines("run").contains { $0["eval_accuracy"] != nil })
        try expectResumes(file, "run", files: ["model.safetensors"])
    }

    /// Objectives of one phase: coupled groups, gradients by several columns, explicit ones.
    @Test(arguments: ["grouped", "bonus", "explicit_nll", "token_values"])
    func otherObjectives(objective: String) throws {
        let library = try PhaseBench.library.get()
        let isOnline = objective == "grouped"
        let file = try config(
            objective,
            isOnline
                ? "\"rewards\": [{ \"plugin\": \"\(library)#brief\", \"run\": { \"isolate\": \"none\" } }],"
                : "",
            train: "\"num_generations\": 4, \"max_steps\": 2,", valid: !isOnline)
        #expect(try train(file, into: "run") == .ok)
        let losses = try lines("run").filter { $0["loss"] != nil }
        #expect(losses.count == 2 && losses.allSatisfy { $0["phase"] == nil })
        #expect(losses.allSatisfy { ($0["grad_norm"]?.double ?? 0) > 0 })
        try expectResumes(file, "run", files: ["model.safetensors"])
    }

    @Test(arguments: [
        (
            "two_phases", "\"phases\": { \"valu\": {} },",
            "objective \"two_phases\" has no phase \"valu\""
        ),
        (
            "two_phases", "\"reference\": \"none\",",
            "objective \"two_phases\" values prompts by the states"
        ),
        (
            "two_phases", "\"value_head\": { \"heads\": 5 },",
            "5 attention heads cannot share states of 16 cells"
        ),
        (
            "bonus", "\"critic\": { \"path\": \"base\" },", "objective \"bonus\" trains no critic"
        ),
        (
            "bonus", "\"value_head\": { \"kind\": \"linear\" },",
            "objective \"bonus\" uses no value head"
        ),
    ])
    func whatDoesNotFitIsRefused(objective: String, sections: String, words: String) throws {
        let file = try config(objective, sections, train: "\"max_steps\": 2,")
        let error = #expect(throws: KeelError.self) { try train(file, into: "run") }
        #expect(error?.what.hasPrefix(words) == true, "\(String(describing: error))")
        #expect(error?.code == .config)
        #expect(!Files.exists(path("run")))
    }

    /// Every phase is rehearsed.
    @Test func checkRehearsesEveryPhase() throws {
        let file = try config("two_phases", train: "\"max_steps\": 3,")
        let report = try CheckCommand.run(TrainCommand.Options(configPath: file))
        #expect(
            report["rehearsal"]?.array?.map { $0["phase"]?.string }
                == ["value", "value", "policy", "policy"])
        #expect(report["total_steps"]?.int == 7)
        #expect(CheckCommand.table(report).contains("rehearsal   policy, step 4: loss"))
        #expect(!Files.exists(path("run")))
    }
}
