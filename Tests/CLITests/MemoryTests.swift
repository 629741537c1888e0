import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// The memory plan against what runs really held.
@Suite struct MemoryTests {
    private static let model = """
        {
          "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 3800, "hidden_size": 96,
          "intermediate_size": 256, "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 2,
          "max_position_embeddings": 128, "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2
        }
        """

    private func folder() throws -> TrainingFolder {
        let training = try TrainingFolder()
        try training.folder.write("wide.json", MemoryTests.model)
        let tokenizer = training.path("base")
        let made = try keel(
            [
                "model", "init", "--config", "wide.json", "--tokenizer", tokenizer, "--seed", "3",
                "wide",
            ],
            in: training.folder.path)
        try #require(made.code == 0, "\(made.errors)")
        return training
    }

    private func check(
        _ training: TrainingFolder, _ kind: TrainingFolder.Kind, _ settings: [String]
    ) throws -> JSON {
        let config = try training.config(kind)
        let all = ["model.path=wide", "train.per_device_train_batch_size=8", "train.threads=2"]
        let sets = (all + settings).flatMap { ["--set", $0] }
        let outcome = try keel(["check", config, "--json"] + sets, in: training.folder.path)
        try #require(outcome.code == 0, "\(outcome.errors)")
        return try JSON.parse(outcome.output)
    }

    static let settings: [(TrainingFolder.Kind, [String])] = [
        (.dpo, []), (.dpo, ["train.gradient_checkpointing=true"]), (.dpo, ["model.dtype=bf16"]),
        (.dpo, ["model.lora={\"r\": 8}"]),
        (.dpo, ["model.dtype=bf16", "model.lora={\"r\": 8}", "train.gradient_checkpointing=true"]),
        (.dpo, ["reference=none", "objective={\"plugin\": \"sft\"}"]),
        (.dpo, ["objective={\"plugin\": \"gold\"}"]), (.rloo, ["train.rollout_batch_size=16"]),
    ]

    /// What tensors held, and what the process did, within 15 % of the plan of the same steps.
    @Test(arguments: settings)
    func thePlanIsWhatARunHolds(kind: TrainingFolder.Kind, settings: [String]) throws {
        let report = try check(try folder(), kind, settings)
        let memory = try #require(report["memory"])
        func number(_ key: String) throws -> Double { try #require(memory[key]?.double) }
        let tensors = try number("tensor_peak_bytes") / number("planned_tensor_bytes")
        let note: Comment =
            "\(kind) \(settings): \(report["memory_plan"]?.text() ?? ""), \(memory.text())"
        #expect(abs(tensors - 1) < 0.15, note)
        let process = try number("process_peak_bytes") / number("planned_peak_bytes")
        // The smaller the model, the more of it is the process itself, and that is measured.
        #expect(abs(process - 1) < 0.3, note)
    }

    /// Recomputation, an adapter and smaller micro-batches take from the plan what they take from the run.
    @Test func whatSavesMemoryIsInThePlan() throws {
        let training = try folder()
        func tensors(_ settings: [String]) throws -> (planned: Int, held: Int) {
            let memory = try #require(try check(training, .dpo, settings)["memory"])
            return (
                try #require(memory["planned_tensor_bytes"]?.int),
                try #require(memory["tensor_peak_bytes"]?.int)
            )
        }
        let plain = try tensors([])
        for change in [
            "train.gradient_checkpointing=true", "train.per_device_train_batch_size=1",
            "model.lora={\"r\": 8}",
        ] {
            let changed = try tensors([change])
            #expect(changed.planned < plain.planned * 9 / 10, "\(change)")
            #expect(changed.held < plain.held * 9 / 10, "\(change)")
        }
    }

    /// A run that does not fit is refused before anything large is loaded, with what to change.
    @Test func aRunThatDoesNotFitIsRefused() throws {
        let training = try folder()
        let config = try training.config(.dpo)
        for command in ["train", "check"] {
            let outcome = try keel(
                [command, config, "--output-dir", "small", "--set", "model.path=wide"],
                in: training.folder.path, environment: ["KEEL_MEMORY_LIMIT": "30"])
            #expect(outcome.code == 78)
            let errors = outcome.errors
            #expect(errors.contains("error[memory]: the run needs "), "\(errors)")
            #expect(errors.contains(", KEEL_MEMORY_LIMIT allows 30 MiB\n"), "\(errors)")
            #expect(errors.contains("  fix: "), "\(errors)")
            #expect(errors.contains("train an adapter: \"model\": {\"lora\": {}} ("), "\(errors)")
            #expect(!Files.exists(training.path("small/checkpoint-3")))
        }
        // With room, the plan is told when the run begins.
        let outcome = try training.train(config, into: "run", ["--set", "train.max_steps=1"])
        #expect(outcome.code == 0)
        #expect(outcome.errors.contains("memory: "), "\(outcome.errors)")
        #expect(outcome.errors.contains(" at most: process and data "), "\(outcome.errors)")
    }
}
