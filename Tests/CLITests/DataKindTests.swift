import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// Runs of objectives that take labels, rewards and ranked lists, on rows of their kind and of others.
@Suite struct DataKindTests {
    private let files: TrainingFolder

    init() throws {
        files = try TrainingFolder()
        try CompiledPlugin.make("Fixtures/plugins/phases.c", files.path("phases.so"))
    }

    private func train(
        _ objective: String, _ rows: [String], _ run: String, sections: String = "",
        data: String = ""
    ) throws -> Outcome {
        try files.folder.write("rows.jsonl", rows.joined(separator: "\n"))
        try files.folder.write(
            "\(run).json",
            """
            { "model": { "path": "base" }, "data": { "train": "rows.jsonl"\(data) },
              "objective": { "plugin": "./phases.so#\(objective)" }, "order": { "plugin": "sequential" }, \(sections)
              "train": { "per_device_train_batch_size": 4, "max_steps": 2, "logging_steps": 1, "save_steps": 0,
                "learning_rate": 1e-3 },
              "output_dir": "\(run)" }
            """)
        return try files.train("\(run).json", into: run)
    }

    private static let pairs = (0..<4).map {
        #"{"prompt": "Q\#($0):", "chosen": " yes, \#($0)", "rejected": " no", "score_chosen": \#($0), "score_rejected": -1}"#
    }

    @Test func pairsServeEveryKind() throws {
        let cases = [
            ("marked", "each pair is used as two rows: the chosen answer with the label true"),
            ("paid", "each pair is used as two rows, one for each answer (4 rows give 8)"),
            ("listed", "pairs are used as ranked lists of two"),
        ]
        for (objective, note) in cases {
            let outcome = try train(objective, DataKindTests.pairs, "run-\(objective)")
            #expect(outcome.code == 0, "\(outcome.errors)")
            #expect(outcome.errors.contains(note), "\(outcome.errors)")
        }
        let paid = try files.lines("run-paid/metrics.jsonl")
        #expect(paid[0]["paid/reward"]?.double == -0.25)  // of 0, -1, 1, -1
        #expect(paid[1]["paid/reward"]?.double == 0.75)  // of 2, -1, 3, -1
        let marked = try files.lines("run-marked/metrics.jsonl")
        #expect(marked[0]["marked/label"]?.double == 0.5)
    }

    /// Rows without rewards get them from the configured plugins, once: the second run finds them in the cache.
    @Test func rewardsOfRowsComeFromPlugins() throws {
        let rows = (0..<4).map {
            #"{"prompt": "Q\#($0):", "completion": " \#(String(repeating: "a", count: 10 * ($0 + 1)))"}"#
        }
        let rewards =
            #""rewards": [ { "plugin": "length", "weight": 2, "params": { "target": 41 } } ],"#
        let first = try train("paid", rows, "one", sections: rewards)
        #expect(first.code == 0, "\(first.errors)")
        #expect(first.errors.contains("data.train: 4 completions were scored by length"))
        let second = try train("paid", rows, "two", sections: rewards)
        #expect(second.code == 0, "\(second.errors)")
        let metrics = try ["one", "two"].map { try files.lines("\($0)/metrics.jsonl")[0] }
        let reward = try #require(metrics[0]["paid/reward"]?.double)
        // length: 1 - |bytes - target| / target of 11, 21, 31 and 41 bytes, times 2.
        #expect(abs(reward - 2 * (1 - (30 + 20 + 10) / 41.0 / 4)) < 1e-6)
        #expect(metrics[1]["paid/reward"]?.double == reward)
    }

    /// A reward that fails on a row: what on_error says holds for this run alone, and a dropped row is dropped, although
    /// another reward answers it.
    @Test func failuresAreThePolicysAndNotKept() throws {
        try CompiledPlugin.make("Zoo/crashes.c", files.path("crashes.so"))
        let rows = (0..<4).map { #"{"prompt": "Q\#($0):", "completion": " a"}"# }
        func run(_ name: String, _ policy: String) throws -> (errors: String, reward: Double?) {
            let rewards = """
                "rewards": [ { "plugin": "./crashes.so#segfault", "name": "bad", "weight": 0.5,
                    "params": { "trigger": "Q1" }, "run": { \(policy) } },
                  { "plugin": "length", "weight": 0, "params": { "target": 2 } } ],
                """
            let outcome = try train("paid", rows, name, sections: rewards)
            #expect(outcome.code == 0, "\(outcome.errors)")
            return (
                outcome.errors, try files.lines("\(name)/metrics.jsonl")[0]["paid/reward"]?.double
            )
        }
        let high = try run("high", #""on_error": "constant", "constant": 8"#)
        let low = try run("low", #""on_error": "constant", "constant": -8"#)
        let difference = try #require(high.reward) - (try #require(low.reward))
        #expect(abs(difference - 0.5 * 16 / 4) < 1e-6, "\(high) \(low)")
        #expect(high.errors.contains("1 of 4 completions could not be scored"), "\(high.errors)")
        let dropped = try run("dropped", #""on_error": "drop_row""#)
        #expect(
            dropped.errors.contains("data.train: 1 rows dropped: a reward failed on them"),
            "\(dropped.errors)")
    }

    /// Rewards by name are weighted as the config says.
    @Test func namedRewardsAreCombined() throws {
        let rows = (0..<4).map {
            #"{"prompt": "Q\#($0):", "completion": " a", "rewards": {"kind": \#($0), "brief": 1}}"#
        }
        let plain = try train("paid", rows, "plain")
        #expect(plain.errors.contains("rewards are the data's brief + kind"), "\(plain.errors)")
        #expect(try files.lines("plain/metrics.jsonl")[0]["paid/reward"]?.double == 2.5)
        let sections = #""rewards": [ { "plugin": "length", "name": "kind", "weight": 10 } ],"#
        let weighted = try train("paid", rows, "weighted", sections: sections)
        #expect(weighted.code == 0, "\(weighted.errors)")
        #expect(try files.lines("weighted/metrics.jsonl")[0]["paid/reward"]?.double == 15)
    }

    /// Completions behind other prompts: at the start policy and reference agree on them, later they do not.
    @Test func completionsOfOtherPrompts() throws {
        let outcome = try train("against_others", DataKindTests.pairs, "others")
        #expect(outcome.code == 0, "\(outcome.errors)")
        let metrics = try files.lines("others/metrics.jsonl")
        #expect(abs(try #require(metrics[0]["gap"]?.double)) < 1e-6)
        #expect(abs(try #require(metrics[1]["gap"]?.double)) > 1e-6)
        #expect(try #require(metrics[0]["other"]?.double) < -1)
        let same = DataKindTests.pairs.map {
            $0.replacingOccurrences(of: "Q[0-9]", with: "Q", options: .regularExpression)
        }
        let refused = try train("against_others", same, "same")
        #expect(refused.code == 65)
        #expect(
            refused.errors.contains(
                "the objective compares with completions of other prompts, and all 8 rows have the same"
            ), "\(refused.errors)")
    }

    @Test func whatIsMissingIsSaidBeforeTraining() throws {
        let bare = #"{"prompt": "Q:", "completion": " a"}"#
        let paid = #"{"prompt": "Q:", "completion": " a", "reward": 1}"#
        let none = try train("paid", [bare, bare], "none")
        #expect(none.code == 65)
        #expect(
            none.errors.contains(
                """
                error[data]: objective "$DIR/phases.so#paid" needs a reward for every completion; the rows have none
                  at:  $DIR/rows.jsonl
                  fix: add "reward": number to every row, or name plugins in "rewards" to score the rows
                """), "\(none.errors)")
        let some = try train("paid", [paid, bare, paid, bare], "some")
        #expect(some.code == 65)
        #expect(some.errors.contains("rows.jsonl:2") && some.errors.contains("rows.jsonl:4"))
        #expect(some.errors.contains("the row has no \"reward\", others have one"))
        let pairs = try train("marked", [bare], "pairs")
        #expect(pairs.code == 65 && pairs.errors.contains("the row has no \"label\""))
        let ties = try train(
            "rank", [#"{"prompt": "p", "completions": ["a", "b"], "scores": [1, 1]}"#], "ties")
        #expect(ties.code == 65)
        #expect(ties.errors.contains("none of the 1 rows can be used"), "\(ties.errors)")
    }
}
