import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// `keel data inspect`, `keel reward label`, and runs on conversations.
@Suite struct DataCommandTests {
    private let files: TrainingFolder

    init() throws { files = try TrainingFolder() }

    private static let template = """
        {%- for m in messages %}{{ '<' + m.role + '>' + m.content + '<|endoftext|>' }}{% endfor %}
        {%- if add_generation_prompt %}{{ '<assistant>' }}{% endif %}
        """

    private func config(
        _ rows: [String], data: String = "", objective: String = "sft", sections: String = "",
        train: String = ""
    ) throws {
        try files.folder.write("rows.jsonl", rows.joined(separator: "\n") + "\n")
        try files.folder.write("chat.jinja", DataCommandTests.template)
        try files.folder.write(
            "config.json",
            """
            { "model": { "path": "base" }, "data": { "train": "rows.jsonl", "chat_template": "chat.jinja"\(data) },
              "objective": { "plugin": "\(objective)" }, \(sections)
              "train": { "per_device_train_batch_size": 4, "max_steps": 4, "logging_steps": 1, "save_steps": 2,
                "learning_rate": 1e-3\(train) },
              "output_dir": "run" }
            """)
    }

    private static let dialogues = (0..<6).map { i in
        let words = String(repeating: "very ", count: i * 3)
        return
            #"{"messages": [{"role": "user", "content": "Hi \#(i)"}, {"role": "assistant", "content": "Hello"}, "#
            + #"{"role": "user", "content": "Well?"}, {"role": "assistant", "content": "A \#(words)good day."}]}"#
    }

    /// The kind of the rows is what the objective chose when it was made, and each phase has its own.
    @Test func inspectShowsTheKindOfThePhase() throws {
        let rows = (0..<4).map { i in
            #"{"prompt": "Say \#(i)", "completions": [" one two", " three"], "scores": [1, 0]}"#
        }
        try config(rows, objective: "reward_model")
        func inspect(_ params: String, _ more: [String] = []) throws -> Outcome {
            try keel(
                ["data", "inspect", "config.json", "--rows", "1", "--set", params] + more,
                in: files.folder.path)
        }
        for (loss, kind) in [("pairwise", "pairs"), ("ranked", "ranked"), ("regression", "scored")]
        {
            let outcome = try inspect("objective.params={\"loss_type\": \"\(loss)\"}")
            #expect(
                outcome.output.hasPrefix("data      $DIR/rows.jsonl, as \(kind)\n"), "\(outcome)")
        }
        let wrong = try inspect("train.max_steps=2", ["--phase", "polcy"])
        #expect(
            wrong.errors == """
                error[usage]: the run has no phase "polcy"
                  at:  --phase
                  fix: did you mean "policy"? phases: policy

                """)
        #expect(wrong.code == KeelCore.ExitCode.usage.rawValue)
        #expect(try inspect("train.max_steps=2", ["--phase", "policy"]).code == 0)
    }

    /// Prompts that are messages are shown as the template writes them, open for an answer.
    @Test func inspectShowsPromptsOfMessages() throws {
        let rows = (0..<3).map { i in
            #"{"prompt": [{"role": "user", "content": "Hi \#(i)"}]}"#
        }
        try config(
            rows, objective: "rloo",
            sections: #""rewards": [{"plugin": "length", "params": {"target": 5}}],"#,
            train: #", "num_generations": 2"#)
        let outcome = try keel(
            ["data", "inspect", "config.json", "--rows", "2", "--json"], in: files.folder.path)
        #expect(outcome.code == 0, "\(outcome.errors)")
        let json = try JSON.parse(outcome.output)
        #expect(json["kind"] == "rollouts" && json["used"] == 3 && json["trained_tokens"] == 0)
        #expect(json["samples"]?[1]?["prompt"]?["text"] == "<user>Hi 1<|endoftext|><assistant>")
    }

    @Test func inspectShowsWhatIsTrained() throws {
        try config(DataCommandTests.dialogues, data: #", "max_length": 40"#)
        let outcome = try keel(
            ["data", "inspect", "config.json", "--rows", "1"], in: files.folder.path)
        #expect(outcome.code == 0, "\(outcome.errors)")
        for part in [
            "data      $DIR/rows.jsonl, as text", "template  $DIR/chat.jinja (sha256 ",
            "rows      6 rows, ", "row 1  $DIR/rows.jsonl:1",
            "<user>Hi 0<|endoftext|><assistant>",
            "[[Hello<|endoftext|>]]<user>Well?<|endoftext|><assistant>[[A good day.<|endoftext|>]]",
            "tokens of a row (prompt and longest completion)",
        ] { #expect(outcome.output.contains(part), "\(part)\n\(outcome.output)") }
        let colored = try keel(
            ["data", "inspect", "config.json", "--rows", "1", "--color", "always"],
            in: files.folder.path)
        #expect(
            colored.output.contains("\u{1B}[32mHello\u{1B}[0m\u{1B}[32;7m<|endoftext|>\u{1B}[0m"))
        let machine = try keel(["data", "inspect", "config.json", "--json"], in: files.folder.path)
        let json = try JSON.parse(machine.output)
        #expect(json["rows"] == 6 && json["samples"]?.array?.count == 3)
        let sample = try #require(json["samples"]?[0]?["completions"]?[0])
        #expect(sample["ids"]?.array?.count == sample["trained"]?.array?.count)
        let marks = (sample["trained"]?.array ?? []).compactMap(\.int)
        #expect(marks.first == 1 && marks.last == 1 && marks.contains(0))
        let used = try #require(json["used"]?.int)
        let cut = try #require(json["truncated"]?.int)
        let counted = (json["lengths"]?.array ?? []).compactMap { $0["rows"]?.int }.reduce(0, +)
        #expect(counted == used && cut > 0)
        #expect(!Files.exists(files.path("run")))
    }

    /// A run on conversations: counts of rows in metrics and manifest; the same weights when it is resumed.
    @Test func conversationsAreTrained() throws {
        try config(
            DataCommandTests.dialogues,
            data: #", "max_length": 40"#, sections: #""order": { "plugin": "length_grouped" },"#)
        let outcome = try files.train("config.json", into: "run")
        #expect(outcome.code == 0, "\(outcome.errors)")
        let first = try files.lines("run/metrics.jsonl")[0]
        #expect(first["data/rows"]?.double == 6)
        #expect(try #require(first["data/truncated"]?.int) > 0)
        let manifest = try JSON.parse(try Files.readText(files.path("run/keel_run.json")))
        #expect(manifest["data"]?["train"]?["rows"] == 6)
        #expect(manifest["data"]?["train"]?["used"]?.double == first["data/used"]?.double)
        #expect(
            try Files.readText(files.path("run/chat_template.jinja")) == DataCommandTests.template)
    }

    /// samples.jsonl has the prompt of a conversation as rewards read it, offline and online.
    @Test func samplesShowWhatRewardsRead() throws {
        let rows = (0..<4).map {
            #"{"prompt": [{"role": "user", "content": "Hi \#($0)"}], "completion": [{"role": "assistant", "content": "Yes."}]}"#
        }
        let sections =
            #""rewards": [ { "plugin": "length" } ], "order": { "plugin": "sequential" },"#
        for (objective, train) in [
            ("sft", #", "eval_steps": 2"#), ("rloo", #", "num_generations": 2"#),
        ] {
            try config(
                rows, data: #", "valid": "rows.jsonl", "max_completion_length": 4"#,
                objective: objective, sections: sections, train: train)
            let outcome = try files.train("config.json", into: objective)
            #expect(outcome.code == 0, "\(outcome.errors)")
        }
        let prompts = try ["sft", "rloo"].map {
            Set(try files.lines("\($0)/samples.jsonl").compactMap { $0["prompt"]?.string })
        }
        #expect(prompts[0] == prompts[1] && prompts[0].count == 4, "\(prompts)")
    }

    @Test func samplersServeRuns() throws {
        for (number, (sampler, params)) in [
            ("length_grouped", "{}"), ("curriculum", #"{"epochs": 2}"#),
            ("curriculum", #"{"by": "/difficulty", "pacing": "sorted"}"#),
        ].enumerated() {
            let rows = (0..<10).map {
                #"{"prompt": "Q\#($0)", "chosen": "a", "rejected": "b b", "difficulty": \#(10 - $0)}"#
            }
            try config(
                rows, objective: "dpo",
                sections: #""order": { "plugin": "\#(sampler)", "params": \#(params) },"#)
            let outcome = try files.train(
                "config.json", into: "run-\(number)", ["--resume", "never"])
            #expect(outcome.code == 0, "\(sampler): \(outcome.errors)")
        }
    }

    private func label(
        _ rows: [String], rewards: String, _ more: [String] = []
    ) throws -> (Outcome, [JSONObject]) {
        try files.folder.write("in.jsonl", rows.joined(separator: "\n"))
        try files.folder.write("rewards.json", rewards)
        let outcome = try keel(
            [
                "reward", "label", "--data", "in.jsonl", "--rewards", "rewards.json", "--out",
                "out.jsonl",
            ] + more,
            in: files.folder.path)
        return (outcome, outcome.code == 0 ? try files.lines("out.jsonl") : [])
    }

    private static let two = """
        { "rewards": [ { "plugin": "length", "name": "size", "params": { "target": 4 } },
            { "plugin": "regex", "name": "word", "weight": 3, "params": { "pattern": "yes" } } ] }
        """

    @Test func labelWritesScoredRows() throws {
        let rows = [
            #"{"id": 7, "prompt": "p", "completion": "yes!"}"#,
            #"{"prompt": "q", "completion": "no"}"#,
        ]
        let (outcome, lines) = try label(rows, rewards: DataCommandTests.two, ["--json"])
        #expect(outcome.code == 0, "\(outcome.errors)")
        #expect(lines[0]["id"] == 7 && lines[0]["completion"] == "yes!")
        #expect(lines[0]["rewards"] == ["size": 1.0, "word": 1.0] && lines[0]["reward"] == 4.0)
        #expect(lines[1]["rewards"] == ["size": 0.5, "word": 0.0] && lines[1]["reward"] == 0.5)
        let report = try JSON.parse(outcome.output)
        #expect(report["rows"] == 2 && report["written"] == 2 && report["reward"]?["mean"] == 2.25)
    }

    @Test func labelKeepsPairsAndLists() throws {
        let (pairs, lines) = try label(
            [#"{"prompt": "p", "chosen": "yes!", "rejected": "no"}"#], rewards: DataCommandTests.two
        )
        #expect(pairs.code == 0, "\(pairs.errors)")
        #expect(lines[0]["score_chosen"] == 4.0 && lines[0]["score_rejected"] == 0.5)
        #expect(lines[0]["rewards_chosen"] == ["size": 1.0, "word": 1.0])
        let (lists, scored) = try label(
            [#"{"prompt": "p", "completions": ["no", "yes!", "x"], "scores": [1, 2, 3]}"#],
            rewards: DataCommandTests.two)
        #expect(lists.code == 0, "\(lists.errors)")
        #expect(scored[0]["scores"]?.array?.compactMap(\.double) == [0.5, 4, 0.25])
    }

    /// Nothing is left behind when a row cannot be scored.
    @Test func labelIsWholeOrAbsent() throws {
        let (outcome, _) = try label(
            [#"{"prompt": "p", "completion": "a"}"#, #"{"prompt": "p"}"#],
            rewards: DataCommandTests.two)
        #expect(outcome.code == 65)
        #expect(
            outcome.errors.contains("the row has no \"completion\"")
                && outcome.errors.contains("in.jsonl:2"))
        #expect(!Files.exists(files.path("out.jsonl")))
        #expect(try files.names(".").allSatisfy { !$0.contains("out.jsonl") })
    }
}
