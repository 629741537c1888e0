import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// A tiny model, tiny data and configs in a folder of their own, to train with the built `keel`.
struct TrainingFolder {
    let folder: TemporaryFolder

    /// - Throws: when `keel model init` does not make the model.
    init() throws {
        folder = try TemporaryFolder()
        try folder.write("model.json", TrainingFolder.modelConfig)
        let tokenizer = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../Fixtures/tokenizers/smollm_style").standardized.path
        let made = try keel(
            [
                "model", "init", "--config", "model.json", "--tokenizer", tokenizer, "--seed", "3",
                "base",
            ],
            in: folder.path)
        try #require(made.code == 0, "\(made.errors)")
        try folder.write("train.jsonl", TrainingFolder.preferences(48))
        try folder.write("valid.jsonl", TrainingFolder.preferences(4))
    }

    private static let modelConfig = """
        {
          "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 3800, "hidden_size": 16,
          "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
          "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
          "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.2
        }
        """

    /// Rows of a small grammar: the chosen answer names its subject, the rejected one evades.
    static func preferences(_ count: Int) -> String {
        let subjects = [
            "rain", "bread", "the moon", "a river", "old maps", "tea", "winter", "trains",
        ]
        let facts = [
            "comes and goes", "needs time", "is older than we are", "likes company",
            "has its own way",
        ]
        let evasions = ["who knows", "ask someone else", "maybe, maybe not"]
        return (0..<count).map { i in
            let subject = subjects[i % subjects.count]
            let row: JSON = [
                "prompt": .string("Tell me \(i + 1) things about \(subject).\n\nAnswer:"),
                "chosen": .string(
                    " \(subject) \(facts[i % facts.count]) and \(facts[(i / 5) % facts.count])."),
                "rejected": .string(" \(evasions[i % evasions.count])"),
            ]
            return row.text() + "\n"
        }.joined()
    }

    /// What the two kinds of run differ in.
    enum Kind: String, CaseIterable, Sendable {
        case dpo, rloo
        case ppoMax = "ppo_max"

        /// What differs.
        ///
        /// Offline: reference log-probs and evaluations. Online: rollouts of two steps, each met twice, so
        /// that three of four steps end inside one.
        /// With a critic: a phase that trains it alone, for a roll-out and a half.
        var sections: String {
            switch self {
            case .dpo:
                """
                "objective": { "plugin": "dpo", "params": { "beta": 0.5 } },
                "train": { "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "eval_steps": 10,
                """
            case .rloo:
                """
                "objective": { "plugin": "rloo", "params": { "kl_coef": 0.05 } },
                "rewards": [ { "plugin": "length", "params": { "target": 20 } } ],
                "train": { "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "num_generations": 2,
                  "rollout_batch_size": 8, "num_iterations": 2,
                """
            case .ppoMax:
                """
                "objective": { "plugin": "ppo_max", "params": { "critic_warmup_steps": 6 } },
                "critic": { "learning_rate": 2e-2 },
                "rewards": [ { "plugin": "length", "params": { "target": 20 } } ],
                "train": { "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "num_generations": 1,
                  "rollout_batch_size": 8, "num_iterations": 2,
                """
            }
        }
    }

    /// Writes a config of a run of `steps` steps; the run folder is named on the command line.
    @discardableResult
    func config(_ kind: Kind, steps: Int = 40, name: String? = nil) throws -> String {
        let valid = kind == .dpo ? "\"valid\": \"valid.jsonl\", " : ""
        // The critic's own steps come before those of the policy.
        let steps = kind == .ppoMax ? steps - 6 : steps
        return try folder.write(
            name ?? "\(kind.rawValue).json",
            """
            {
              "model": { "path": "base", "dtype": "f32" },
              "data": { "train": "train.jsonl", \(valid)"max_length": 64, "max_completion_length": 8 },
              \(kind.sections)
                "learning_rate": 1e-2, "lr_scheduler_type": "cosine", "warmup_steps": 4, "max_steps": \(steps),
                "logging_steps": 1, "save_steps": 3, "seed": 11 },
              "output_dir": "run"
            }
            """)
    }

    func path(_ name: String) -> String { folder.path(name) }

    /// Trains to the end, or to whatever ends it.
    func train(
        _ config: String, into run: String, _ arguments: [String] = [],
        environment: [String: String] = [:]
    ) throws -> Outcome {
        try keel(
            ["train", config, "--output-dir", run] + arguments, in: folder.path,
            environment: environment)
    }

    // MARK: - What a run leaves

    /// The bytes of the weights and of the optimizer's state at the end.
    func weights(_ run: String, step: Int) throws -> [String: [UInt8]] {
        var files = ["model.safetensors": try Files.read(path("\(run)/model.safetensors"))]
        for name in ["model.safetensors", "optimizer.safetensors"] {
            files["checkpoint/\(name)"] = try Files.read(path("\(run)/checkpoint-\(step)/\(name)"))
        }
        let critic = path("\(run)/checkpoint-\(step)/critic/model.safetensors")
        if Files.exists(critic) { files["critic"] = try Files.read(critic) }
        return files
    }

    /// The lines of metrics.jsonl without what a clock measured.
    func metrics(_ run: String) throws -> [JSONObject] {
        try lines("\(run)/metrics.jsonl").map { line in
            JSONObject(
                pairs: line.filter { key, _ in
                    !key.hasPrefix("reward_calls/") && !key.contains("_per_second")
                        && !key.hasSuffix("_runtime") && !key.hasPrefix("perf/")
                }.map { ($0.key, $0.value) })
        }
    }

    func lines(_ file: String) throws -> [JSONObject] {
        try Files.readText(path(file)).split(separator: "\n").map {
            try #require(try JSON.parse(String($0)).object)
        }
    }

    /// Names in the run folder, of temporary files too.
    func names(_ run: String) throws -> [String] {
        Files.isDirectory(path(run)) ? try Files.list(path(run)).sorted() : []
    }

    /// Expects two runs to have the same weights, moments and numbers.
    func expectSame(
        _ a: String, _ b: String, step: Int, _ what: Comment? = nil,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let (one, two) = (try weights(a, step: step), try weights(b, step: step))
        for name in one.keys.sorted() {
            #expect(
                one[name] == two[name], "\(name) differs; \(what ?? "")",
                sourceLocation: sourceLocation)
        }
        let (left, right) = (try metrics(a), try metrics(b))
        let firstDifference = zip(left, right).first { JSON.object($0) != JSON.object($1) }
        #expect(
            firstDifference == nil,
            "\(firstDifference.map { "\(JSON.object($0).text())\n\(JSON.object($1).text())" } ?? ""); \(what ?? "")",
            sourceLocation: sourceLocation)
        #expect(left.count == right.count, what, sourceLocation: sourceLocation)
        let steps = right.compactMap { $0["step"]?.int }
        #expect(
            steps == steps.sorted(), "steps fall; \(what ?? "")", sourceLocation: sourceLocation)
        let samples = try [a, b].map { try lines("\($0)/samples.jsonl").map { JSON.object($0) } }
        #expect(
            samples[0] == samples[1], "samples.jsonl differs; \(what ?? "")",
            sourceLocation: sourceLocation)
    }
}

/// A `keel train` that goes on while the test watches it.
final class RunningKeel {
    let process: Process
    private let metricsFile: String

    init(
        _ folder: TrainingFolder, config: String, into run: String, _ arguments: [String] = []
    ) throws {
        metricsFile = folder.path("\(run)/metrics.jsonl")
        process = try keelProcess(
            ["train", config, "--output-dir", run] + arguments, in: folder.folder.path,
            streams: "\(run).log")
        try process.run()
    }

    /// The step of the last whole line in metrics.jsonl; 0 when there is none.
    var step: Int {
        guard let text = try? Files.readText(metricsFile),
            let line = text.split(separator: "\n", omittingEmptySubsequences: true).last
        else { return 0 }
        return (try? JSON.parse(String(line)))?["step"]?.int ?? 0
    }

    /// Waits until a step is logged, or the process has ended.
    func wait(forStep wanted: Int) {
        while process.isRunning, step < wanted { usleep(1000) }
    }

    func signal(_ number: Int32) {
        if process.isRunning { kill(process.processIdentifier, number) }
    }

    /// Waits for the end; the exit code, or minus the signal that ended it.
    func end() -> Int32 {
        process.waitUntilExit()
        return process.terminationReason == .exit
            ? process.terminationStatus : -process.terminationStatus
    }
}
