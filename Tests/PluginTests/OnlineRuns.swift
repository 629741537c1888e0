import Foundation
import KeelCore
import Testing

@testable import KeelHost

/// A folder with a tiny model and prompts, in which the built plugins train; it goes with its owner.
final class OnlineRuns {
    let folder: String
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    /// A model of 3,800 tokens and 16 hidden cells, twelve prompts.
    init(initializerRange: Double = 0.3) throws {
        folder =
            FileManager.default.temporaryDirectory.appendingPathComponent(
                "keel-online-runs-\(UUID().uuidString)"
            ).path
        try Files.makeDirectory(folder)
        let model: JSONObject = [
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 3800,
            "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
            "rope_theta": 100.0, "eos_token_id": 2, "initializer_range": .double(initializerRange),
        ]
        try AtomicWrite.file(path("model.json"), JSON.object(model).text())
        try initialise(path("model.json"), "base")
        let rows = (0..<12).map {
            "{\"prompt\": \"Say \($0).\", \"answer\": \"\($0)\", \"completion\": \" yes\"}\n"
        }
        try AtomicWrite.file(path("train.jsonl"), rows.joined())
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    func path(_ name: String) -> String { Files.join(folder, name) }

    private func initialise(_ config: String, _ out: String) throws {
        try ModelCommand.initialise(
            config: config,
            tokenizer: OnlineRuns.root.appendingPathComponent(
                "Tests/Fixtures/tokenizers/smollm_style"
            ).path, seed: 3, out: path(out), threads: 2)
    }

    /// Makes `reward-model`, of the policy's shape and tokenizer.
    func addRewardModel() throws {
        var config = try #require(try JSON.parse(Files.readText(path("model.json"))).object)
        config["architectures"] = ["LlamaForSequenceClassification"]
        config["id2label"] = ["0": "LABEL_0"]
        try AtomicWrite.file(path("reward.json"), JSON.object(config).text())
        try initialise(path("reward.json"), "reward-model")
    }

    /// Writes a config.
    ///
    /// - Parameters:
    ///   - sections: go before those of all runs.
    ///   - train: goes before the keys of that section.
    ///   - reward: one that runs in this process; or
    ///   - rewards: the whole list.
    func config(
        _ objective: String, params: String = "{}", sections: String = "", train: String = "",
        reward: String = "\"length\", \"params\": { \"target\": 12 }", rewards: String? = nil,
        sampler: String = "nucleus", order: String = "\"shuffle\""
    ) throws -> String {
        let file = path("\(objective).json")
        let steps = train.contains("max_steps") ? "" : "\"max_steps\": 2,"
        let list = rewards ?? "{ \"plugin\": \(reward), \"run\": { \"isolate\": \"none\" } }"
        try AtomicWrite.file(
            file,
            """
            {
              "model": { "path": "base" }, \(sections)
              "data": { "train": "train.jsonl", "max_length": 60, "max_completion_length": 6 },
              "objective": { "plugin": "\(objective)", "params": \(params) },
              "rewards": [\(list)],
              "sampler": { "plugin": "\(sampler)" },
              "order": { "plugin": \(order), "run": { "isolate": "none" } },
              "train": { "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2,
                "num_generations": 4, \(steps) \(train) "learning_rate": 1e-2,
                "logging_steps": 1, "save_steps": 1, "seed": 11, "threads": 2 },
              "output_dir": "run"
            }
            """)
        return file
    }

    @discardableResult
    func train(
        _ config: String, into run: String = "run", resume: ResumeMode = .never,
        set overrides: [String] = []
    ) throws -> ExitCode {
        var options = TrainCommand.Options(configPath: config)
        options.outputDir = path(run)
        options.resume = resume
        options.pluginPaths = [Workbench.products]
        options.overrides = overrides
        return try TrainCommand.run(
            options, progress: Progress(terminal: Terminal(isInteractive: false), isQuiet: true))
    }

    /// The lines of `metrics.jsonl`, without what clocks measured.
    func lines(_ run: String = "run") throws -> [JSONObject] {
        try Files.readText(path("\(run)/metrics.jsonl")).split(separator: "\n").map {
            let object = try #require(try JSON.parse(String($0)).object)
            return JSONObject(
                pairs: object.filter { key, _ in
                    !key.hasPrefix("reward_calls/") && !key.hasPrefix("perf/")
                        && !key.contains("_per_second") && !key.hasSuffix("_runtime")
                }.map { ($0.key, $0.value) })
        }
    }

    /// Goes on from every checkpoint of a finished run in a folder of its own, and expects the same bytes.
    func expectResumes(
        _ config: String, _ run: String = "run", files: [String], set overrides: [String] = []
    ) throws {
        let steps = CheckpointStore(directory: path(run)).steps()
        let last = try #require(steps.last)
        let whole = try lines(run)
        for step in steps.dropLast() {
            let other = "\(run)-from-\(step)"
            try FileManager.default.copyItem(atPath: path(run), toPath: path(other))
            for later in steps where later > step {
                try Files.remove(path("\(other)/checkpoint-\(later)"))
            }
            let from = ResumeMode.checkpoint(path("\(other)/checkpoint-\(step)"))
            #expect(try train(config, into: other, resume: from, set: overrides) == .ok)
            for file in files {
                let inner = "checkpoint-\(last)/\(file)"
                #expect(
                    try Files.read(path("\(run)/\(inner)"))
                        == Files.read(path("\(other)/\(inner)")), "\(inner) from step \(step)")
            }
            #expect(try lines(other) == whole, "metrics from step \(step)")
        }
    }

    /// The error of a run that must fail.
    func failure(_ config: String) -> KeelError? {
        do {
            try train(config)
            return nil
        } catch { return error as? KeelError }
    }

    func weights(_ run: String) throws -> [UInt8] {
        try Files.read(path("\(run)/model.safetensors"))
    }
}
