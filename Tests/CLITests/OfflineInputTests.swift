import KeelCore
import KeelTestSupport
import Testing

/// Data that an offline objective cannot learn from: what is said, before a step is made.
@Suite struct OfflineInputTests {
    struct Case: CustomTestStringConvertible, Sendable {
        let objective: String
        let rows: [String]
        /// What the message has.
        let text: [String]
        /// A warning: the run goes on.
        var isWarning = false
        var settings: [String] = []

        var testDescription: String { "\(objective): \(text[0])" }
    }

    private static func scored(_ rewards: [String]) -> [String] {
        rewards.enumerated().map {
            #"{"prompt": "Q\#($0)", "completion": " yes"\#($1.isEmpty ? "" : ", \"reward\": \($1)")}"#
        }
    }

    private static func labelled(_ labels: [Bool], prompt: (Int) -> String) -> [String] {
        labels.enumerated().map {
            #"{"prompt": "\#(prompt($0))", "completion": " yes \#($0)", "label": \#($1)}"#
        }
    }

    static let cases = [
        Case(
            objective: "alol", rows: scored(["", ""]),
            text: [
                "needs a reward for every completion; the rows have none",
                "add \"reward\": number to every row, or name plugins in \"rewards\"",
            ]),
        Case(
            objective: "wbc", rows: scored(["0.5", ""]),
            text: ["the row has no \"reward\", others have one", "rows.jsonl:2"]),
        Case(
            objective: "wbc", rows: scored(["0.5", "NaN"]),
            text: ["NaN and Infinity are not JSON", "write a finite number"]),
        Case(
            objective: "rlol", rows: scored(["0.5", "\"high\""]),
            text: ["\"reward\" must be a number, found a string", "rows.jsonl:2"]),
        Case(
            objective: "rgold", rows: scored(["0.5", "-1"]),
            text: [
                "row 1 has the reward -1.0, and rgold needs rewards of 0 and more", "reward_shift",
            ]),
        Case(
            objective: "rlol", rows: scored(["0.5", "0.5", "0.5"]),
            text: [
                "data.train: all 3 completions have the reward 0.5: there is nothing to prefer",
                "keel reward try",
            ], isWarning: true),
        Case(
            objective: "alol", rows: scored(["0.5", "0.5"]).map { $0.replacing("Q1", with: "Q0") },
            text: ["all 2 completions have the reward 0.5", "keeps none of the 2 rows"],
            settings: ["value_head.source=prompt_mean"]),
        Case(
            objective: "alol", rows: scored(["0.5", "0.7"]),
            text: ["compares the rows of a prompt, and each of the 2 prompts has one"],
            settings: ["value_head.source=prompt_mean"]),
        Case(
            objective: "pro", rows: [#"{"prompt": "Q", "completions": [" a"], "scores": [1]}"#],
            text: ["\"completions\" has one completion: nothing is ranked", "leave the row out"]),
        Case(
            objective: "kto", rows: labelled([true, false]) { _ in "Q" },
            text: ["all 2 rows have the same", "at least two different prompts"]),
        Case(
            objective: "kto", rows: labelled([true, true]) { "Q\($0)" },
            text: ["all 2 rows are wanted: nothing is compared"], isWarning: true),
        Case(
            objective: "kto", rows: scored(["0.5", "1"]),
            text: ["completions with a reward cannot be used as completions with a label"]),
        Case(
            objective: "dpo", rows: scored(["0.5", "1"]),
            text: ["completions with a reward cannot be used as pairs"]),
    ]

    private let files: TrainingFolder

    init() throws { files = try TrainingFolder() }

    @Test(arguments: cases) func isSaidBeforeTraining(_ item: Case) throws {
        try files.folder.write("rows.jsonl", item.rows.joined(separator: "\n"))
        try files.folder.write(
            "bad.json",
            """
            { "model": { "path": "base" }, "data": { "train": "rows.jsonl" },
              "objective": { "plugin": "\(item.objective)" },
              "train": { "per_device_train_batch_size": 2, "max_steps": 1, "logging_steps": 1, "save_steps": 0 },
              "output_dir": "bad" }
            """)
        let outcome = try files.train(
            "bad.json", into: "bad", item.settings.flatMap { ["--set", $0] })
        for text in item.text {
            #expect(outcome.errors.contains(text), "\(outcome.errors)")
        }
        #expect((outcome.code == 0) == item.isWarning, "\(outcome.errors)")
        guard !item.isWarning else { return }
        let lines = (try? files.lines("bad/metrics.jsonl")) ?? []
        #expect(!lines.contains { $0["loss"] != nil })
    }
}
