import KeelCore
import KeelTestSupport
import Testing

/// The policy that an evaluation found best, by its own answers or by loss, as the result of a run.
@Suite struct BestModelTests {
    private let files: TrainingFolder

    init() throws {
        files = try TrainingFolder()
        try files.folder.write(
            "sft.json",
            """
            { "model": { "path": "base" }, "data": { "train": "train.jsonl", "valid": "valid.jsonl", "max_completion_length": 8 },
              "objective": { "plugin": "sft" },
              "rewards": [ { "plugin": "length", "params": { "target": 40 } } ],
              "train": { "per_device_train_batch_size": 4, "max_steps": 6, "eval_steps": 1, "logging_steps": 1, "save_steps": 2,
                "learning_rate": 2e-2, "lr_scheduler_type": "constant", "load_best_model_at_end": true, "eval_on_start": true },
              "output_dir": "sft" }
            """)
    }

    private func evaluations(_ run: String) throws -> [JSONObject] {
        try files.metrics(run).filter { $0["eval_loss"] != nil }
    }

    /// The step whose number is best; ties go to the first.
    private func best(
        _ lines: [JSONObject], _ metric: String, greater: Bool
    ) throws -> (step: Int, value: Double) {
        let values = try lines.map {
            (try #require($0["step"]?.int), try #require($0[metric]?.double))
        }
        let first = try #require(values.first)
        return values.dropFirst().reduce(first) {
            greater ? ($1.1 > $0.1 ? $1 : $0) : ($1.1 < $0.1 ? $1 : $0)
        }
    }

    @Test func byItsOwnAnswers() throws {
        let generations = ["--set", "train.eval_generations=true"]
        let outcome = try files.train("sft.json", into: "own", generations)
        #expect(outcome.code == 0, "\(outcome.errors)")
        let lines = try evaluations("own")
        #expect(lines.map { $0["step"]?.int } == [0, 1, 2, 3, 4, 5, 6])
        for key in [
            "eval_reward", "eval_rewards/length/mean", "eval_distinct_2_corpus",
            "eval_completions/mean_length", "eval_loss",
        ] {
            #expect(lines.allSatisfy { $0[key] != nil }, "\(key)")
        }
        let found = try best(lines, "eval_reward", greater: true)
        if found.step == 0 {
            #expect(
                outcome.errors.contains("no evaluation was better than the start's eval_reward"))
        } else {
            #expect(
                outcome.errors.contains(
                    "the weights of step \(found.step) are the result: eval_reward \(found.value)"))
        }
        // Interrupted and resumed, it ends with the same.
        let bytes = try Files.read(files.path("own/model.safetensors"))
        for name in ["checkpoint-4", "checkpoint-6", "model.safetensors"] {
            try Files.remove(files.path("own/\(name)"))
        }
        let resumed = try files.train("sft.json", into: "own", generations + ["--resume", "auto"])
        #expect(resumed.code == 0, "\(resumed.errors)")
        #expect(try Files.read(files.path("own/model.safetensors")) == bytes)
    }

    /// At this learning rate the loss goes up again: the result is neither the first nor the last step's.
    @Test func byLoss() throws {
        let outcome = try files.train(
            "sft.json", into: "loss", ["--set", "train.save_steps=1"])
        #expect(outcome.code == 0, "\(outcome.errors)")
        let found = try best(try evaluations("loss"), "eval_loss", greater: false)
        try #require(found.step > 0)
        #expect(outcome.errors.contains("the weights of step \(found.step) are the result"))
        #expect(
            try Files.read(files.path("loss/model.safetensors"))
                == Files.read(files.path("loss/checkpoint-\(found.step)/model.safetensors")))
    }

    /// A checkpoint knows which step was best, and the folder holds the weights of one step: here, of the last.
    @Test(arguments: ["later", "elsewhere"])
    func weightsOfAnotherStepAreNotTheResult(_ place: String) throws {
        let slowly = ["--set", "train.learning_rate=1e-3"]
        let whole = try files.train("sft.json", into: "whole", slowly)
        #expect(whole.code == 0, "\(whole.errors)")
        let found = try best(try evaluations("whole"), "eval_loss", greater: false)
        try #require(found.step > 2)
        // From the second step on without a change of the weights: nothing gets better.
        let run = place == "later" ? "whole" : "other"
        let resumed = try files.train(
            "sft.json", into: run,
            ["--set", "train.learning_rate=1e-30", "--resume", "whole/checkpoint-2"])
        #expect(resumed.code == 0, "\(resumed.errors)")
        #expect(
            resumed.errors.contains(
                "the weights of step 2, the best before the checkpoint, are not in $DIR/\(run)/best any more"
            ), "\(resumed.errors)")
        #expect(
            try Files.read(files.path("\(run)/model.safetensors"))
                == Files.read(files.path("whole/checkpoint-2/model.safetensors")))
        #expect(!Files.exists(files.path("\(run)/keel_best.json")))
    }

    /// Where nothing beats the start, the last weights stay, and it is said.
    @Test func theStartIsTheMark() throws {
        let outcome = try files.train(
            "sft.json", into: "worse",
            [
                "--set", "train.metric_for_best_model=eval_loss", "--set",
                "train.greater_is_better=true",
            ])
        #expect(outcome.code == 0, "\(outcome.errors)")
        let lines = try evaluations("worse")
        let found = try best(lines, "eval_loss", greater: true)
        let text =
            found.step == 0
            ? "no evaluation was better than the start's eval_loss"
            : "the weights of step \(found.step) are the result"
        #expect(outcome.errors.contains(text), "\(outcome.errors)")
        let missing = try files.train(
            "sft.json", into: "missing", ["--set", "train.metric_for_best_model=bleu"])
        #expect(
            missing.errors.contains("no evaluation had \"eval_bleu\" (train.metric_for_best_model)")
        )
    }

    @Test(arguments: [
        (
            ["train.eval_generations=true", "rewards=[]"],
            "train.eval_generations needs rewards that judge the answers"
        ),
        (
            ["data.valid=null", "train.eval_steps=null", "train.eval_on_start=false"],
            "train.load_best_model_at_end asks for evaluations, but data.valid names no rows"
        ),
    ]) func whatIsMissingIsSaid(_ settings: [String], _ text: String) throws {
        let outcome = try files.train("sft.json", into: "bad", settings.flatMap { ["--set", $0] })
        #expect(outcome.code == 78)
        #expect(outcome.errors.contains(text), "\(outcome.errors)")
    }
}
