import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// Rewards of all makes together in runs of the built `keel`: a reward model, a judge, a gate, running moments.
@Suite(.serialized) struct ModelRewardTests {
    static let steps = 6
    let work: TrainingFolder

    /// Beside the policy `base`, the reward model `rm` with the same tokenizer, and `other` with another one.
    init() throws {
        work = try TrainingFolder()
        let json = try JSON.parse(try work.folder.read("model.json"), name: "model.json")
        var config = try #require(json.object)
        config["architectures"] = ["LlamaForSequenceClassification"]
        config["id2label"] = ["0": "LABEL_0"]
        try work.folder.write("rm.json", JSON.object(config).text())
        try make("rm", tokenizer: "smollm_style")
        config["vocab_size"] = 8000
        try work.folder.write("rm.json", JSON.object(config).text())
        try make("other", tokenizer: "llama2_style")
    }

    private func make(_ name: String, tokenizer: String) throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../Fixtures/tokenizers/\(tokenizer)").standardized.path
        let made = try keel(
            [
                "model", "init", "--config", "rm.json", "--tokenizer", folder, "--seed", "5", name,
            ], in: work.folder.path)
        try #require(made.code == 0, "\(made.errors)")
    }

    @discardableResult
    private func config(_ rewards: String, combine: String = "{}") throws -> String {
        try work.folder.write(
            "many.json",
            """
            {
              "model": { "path": "base" },
              "data": { "train": "train.jsonl", "valid": "valid.jsonl", "max_length": 64,
                        "max_completion_length": 8 },
              "objective": { "plugin": "rloo", "params": { "kl_coef": 0.05 } },
              "rewards": \(rewards),
              "combine": \(combine),
              "train": { "per_device_train_batch_size": 4, "num_generations": 2, "learning_rate": 1e-2,
                         "max_steps": \(ModelRewardTests.steps), "logging_steps": 1, "save_steps": 2, "seed": 5 },
              "output_dir": "run"
            }
            """)
    }

    private static let many = """
        [ { "plugin": "model", "name": "safe", "model": { "path": "rm" }, "params": { "sigmoid": true, "scale": 0.2 } },
          { "plugin": "model", "name": "kind", "weight": 0.5, "normalize": "normalize", "clip": [-2, 2],
            "model": { "path": "other" } },
          { "plugin": "length", "params": { "target": 20 }, "normalize": "scale" },
          { "plugin": "tfidf_novelty" }, { "plugin": "repetition", "params": { "n": 2, "score": "repeated" } },
          { "plugin": "judge", "weight": 0.1, "judge": { "path": "base", "max_new_tokens": 4 },
            "params": { "template": "{response}?", "verdict": "regex", "pattern": "[a-m]", "yes": "a|e|i" } } ]
        """
    private static let gate = """
        { "rule": "gated", "gate": "safe", "threshold": 0.4, "transform": "none",
          "overlong": { "cache": 4, "factor": 0.5 }, "stop_properly": 0.9 }
        """

    /// Killed and resumed, a run with moments gives what an uninterrupted one gives, bit for bit.
    @Test func manyRewardsInOneRun() throws {
        let config = try config(ModelRewardTests.many, combine: ModelRewardTests.gate)
        let whole = try work.train(config, into: "whole")
        try #require(whole.code == 0, "\(whole.errors)")
        let run = try RunningKeel(work, config: config, into: "killed")
        run.wait(forStep: 3)
        run.signal(SIGKILL)
        _ = run.end()
        let last = try work.train(config, into: "killed", ["--resume", "auto"])
        #expect(last.code == 0, "\(last.errors)")
        try work.expectSame("whole", "killed", step: ModelRewardTests.steps)

        let metrics = try #require(try work.metrics("whole").first { $0["reward"] != nil })
        for name in ["safe", "kind", "length", "tfidf_novelty", "repetition"] {
            for kind in ["mean", "std", "used_mean", "weighted_mean"] {
                #expect(
                    metrics["rewards/\(name)/\(kind)"]?.double?.isFinite == true, "\(name) \(kind)")
            }
        }
        for name in [
            "rewards/gated_frac", "judge/asked", "judge/unparsed", "judge/too_long",
            "kind/truncated",
        ] {
            let share = try #require(metrics[name]?.double, "\(name)")
            #expect(share >= 0 && share <= 1, "\(name)")
        }
        let used = try #require(metrics["rewards/kind/used_mean"]?.double)
        #expect(abs(used) < 1, "the first batch is its own mean: \(used)")

        // raw -> used -> weighted -> reward, as a sample of the first step says.
        for sample in try work.lines("whole/samples.jsonl") where sample["step"]?.int == 1 {
            let weighted = try #require(sample["weighted"]?.object)
            let sum = weighted.compactMap(\.value.double).filter { !$0.isNaN }.reduce(0, +)
            let reward = try #require(sample["reward"]?.double)
            // Eight tokens: the cut ones lose 0.5, then a tenth.
            let shaped = [
                sum, 0.9 * (sum - 0.5), sum - 0.5 * 3 / 4, sum - 0.5 / 2, sum - 0.5 / 4, sum - 0.5,
            ]
            #expect(shaped.contains { abs($0 - reward) < 1e-9 }, "\(JSON.object(sample).text())")
        }
        let state = try Files.readText(work.path("whole/checkpoint-6/keel_state.json"))
        #expect(state.contains("\"reward_moments\""))
    }

    // MARK: - What is wrong with an entry

    @Test(
        arguments: [
            (
                "[{ \"plugin\": \"model\" }]", ExitCode.config,
                """
                error[config]: reward "model" reads the scores of a reward model, but none is named
                  at:  many.json:6:17, key rewards[0].plugin
                  fix: add "model": {"path": "FOLDER"} to the entry
                """
            ),
            (
                "[{ \"plugin\": \"judge\" }]", .config,
                """
                error[config]: reward "judge" asks a judge, but none is named
                  at:  many.json:6:17, key rewards[0].plugin
                  fix: add "judge": {"path": "FOLDER"} to the entry
                """
            ),
            (
                "[{ \"plugin\": \"length\", \"model\": { \"path\": \"rm\" } }]", .config,
                """
                error[config]: reward "length" does not read the scores of a model
                  at:  many.json:6:37, key rewards[0].model
                  fix: remove it
                """
            ),
            (
                "[{ \"plugin\": \"model\", \"model\": { \"path\": \"base\" } }]", .badData,
                """
                error[model]: a language model gives no scores
                  at:  many.json:6:47, key rewards[0].model.path: $DIR/base
                  fix: name a reward model (*ForSequenceClassification with one label), or use the reward "judge"
                """
            ),
            (
                "[{ \"plugin\": \"judge\", \"judge\": { \"path\": \"rm\" } }]", .badData,
                """
                error[model]: a reward model cannot answer questions
                  at:  many.json:6:47, key rewards[0].judge.path: $DIR/rm
                  fix: name a language model, or use the reward "model"
                """
            ),
        ] as [(String, ExitCode, String)])
    func isToldBeforeTheRun(_ rewards: String, _ code: ExitCode, _ want: String) throws {
        let config = try config(rewards)
        let outcome = try keel(["train", "many.json"], in: work.folder.path)
        #expect(outcome.errors == want + "\n")
        #expect(outcome.code == code.rawValue)
        #expect(!Files.exists(work.path("run")) && config.hasSuffix("many.json"))
    }

    // MARK: - reward try

    @Test func triesOneRewardWithItsModel() throws {
        let outcome = try keel(
            ["reward", "try", "model", "--model", "rm", "--data", "valid.jsonl", "--json"],
            in: work.folder.path)
        try #require(outcome.code == 0, "\(outcome.errors)")
        let report = try JSON.parse(outcome.output, name: "report")
        #expect(report["rows"] == 4 && report["chosen_scores"]?.array?.count == 4)
        #expect(report["metrics"]?["model/truncated"]?.double == 0)
        let agreement = try #require(report["agreement"]?["rate"]?.double)
        #expect(agreement >= 0 && agreement <= 1)

        let judged = try keel(
            [
                "reward", "try", "judge", "--judge", "base", "--max-new-tokens", "2", "--data",
                "valid.jsonl",
            ],
            in: work.folder.path)
        #expect(
            judged.code == 0 && judged.output.contains("metric judge/asked: 1"), "\(judged.errors)")
        #expect(judged.errors.contains("rows got no score (NaN)"))

        let refused = try keel(
            ["reward", "try", "model", "--data", "valid.jsonl"], in: work.folder.path)
        #expect(refused.code == ExitCode.usage.rawValue)
        #expect(
            refused.errors == """
                error[usage]: reward "model" reads the scores of a reward model, but none is named
                  at:  model
                  fix: add --model FOLDER

                """)
    }

    /// Pairs are found under the names that the file has for them.
    @Test func triesPairsOfRenamedColumns() throws {
        let rows = try Files.readText(work.path("valid.jsonl"))
        try work.folder.write(
            "renamed.jsonl",
            rows.replacing("\"chosen\"", with: "\"good\"").replacing(
                "\"rejected\"", with: "\"bad\""))
        try work.folder.write(
            "rewards.json",
            #"{"rewards": [{"plugin": "length"}], "data": {"columns": {"chosen": "good", "rejected": "bad"}}}"#
        )
        let outcome = try keel(
            ["reward", "try", "--rewards", "rewards.json", "--data", "renamed.jsonl", "--json"],
            in: work.folder.path)
        try #require(outcome.code == 0, "\(outcome.errors)")
        let report = try JSON.parse(outcome.output)
        #expect(report["rewards"]?[0]?["chosen_scores"]?.array?.count == 4)
        #expect(report["rewards"]?[0]?["agreement"]?["rate"] != nil)
    }

    @Test func triesAllRewardsOfAConfig() throws {
        try config(ModelRewardTests.many, combine: ModelRewardTests.gate)
        let outcome = try keel(
            ["reward", "try", "--rewards", "many.json", "--data", "valid.jsonl", "--json"],
            in: work.folder.path)
        try #require(outcome.code == 0, "\(outcome.errors)")
        let report = try JSON.parse(outcome.output, name: "report")
        let names = report["rewards"]?.array?.compactMap { $0["name"]?.string }
        #expect(names == ["safe", "kind", "length", "tfidf_novelty", "repetition", "judge"])
        // Chosen and rejected answers to one prompt are a group.
        let novelty = try #require(report["rewards"]?[3]?["chosen_scores"]?.array)
        #expect(novelty.allSatisfy { $0.double?.isNaN == false })
        #expect(report["combined"]?["chosen_scores"]?.array?.count == 4)
        #expect(report["combined"]?["agreement"]?["rate"] != nil)
        let table = try keel(
            ["reward", "try", "--rewards", "many.json", "--data", "valid.jsonl"],
            in: work.folder.path)
        #expect(table.output.contains("kind: reward \"model\" on 4 rows"))
        #expect(table.output.contains("combined reward on 4 rows"))
    }
}
