import KeelCore
import Testing

@testable import KeelData

/// Rows of each kind, and what they become where another kind is wanted.
struct RowConversionTests {
    /// What a data set gives out: prompt and completions, label, rewards.
    private func rows(_ lines: String, _ wanted: RowKind) throws -> (Dataset, [String]) {
        let folder = try Folder()
        let data = try Dataset.load(path: try folder.write("rows.jsonl", lines), wanted: wanted)
        let shown = try (0..<data.count).map { index in
            let texts = try data.texts(index)
            let values = data.values[index]
            var text = "\(texts.prompt ?? "-") > \(texts.completions.joined(separator: " | "))"
            if let label = values.label { text += " \(label)" }
            if let rewards = values.rewards { text += " \(rewards)" }
            if let margin = values.margin { text += " margin \(margin)" }
            return text
        }
        return (data, shown)
    }

    private static let pairs = """
        {"prompt": "p", "chosen": "x", "rejected": "y", "margin": 2, "score_chosen": 1, "score_rejected": -1}
        {"prompt": "q", "chosen": "v", "rejected": "w", "chosen_score": 0.5, "rejected_score": 0.25}
        """
    private static let ranked = """
        {"prompt": "p", "completions": ["a", "b", "c"], "scores": [1, 3, 2]}
        {"prompt": "q", "completions": ["d", "e"]}
        {"prompt": "r", "completions": ["f", "g"], "scores": [1, 1]}
        """
    private static let unpaired = """
        {"prompt": "p", "completion": "a", "label": true}
        {"prompt": "q", "completion": "b", "label": 0}
        """
    private static let scored = """
        {"prompt": "p", "completion": "a", "reward": 0.5}
        {"prompt": "q", "completion": "b", "reward": -1}
        """

    @Test(arguments: [
        (pairs, RowKind.preference, ["p > x | y [1.0, -1.0] margin 2.0", "q > v | w [0.5, 0.25]"]),
        (
            pairs, .unpaired,
            ["p > x true [1.0]", "p > y false [-1.0]", "q > v true [0.5]", "q > w false [0.25]"]
        ),
        (pairs, .text, ["p > x [1.0]", "q > v [0.5]"]),
        (pairs, .ranked, ["p > x | y [1.0, -1.0] margin 2.0", "q > v | w [0.5, 0.25]"]),
        (pairs, .scored, ["p > x [1.0]", "p > y [-1.0]", "q > v [0.5]", "q > w [0.25]"]),
        (ranked, .ranked, ["p > b | c | a [3.0, 2.0, 1.0]", "q > d | e", "r > f | g [1.0, 1.0]"]),
        (
            ranked, .preference,
            ["p > b | c [3.0, 2.0]", "p > b | a [3.0, 1.0]", "p > c | a [2.0, 1.0]", "q > d | e"]
        ),
        (ranked, .text, ["p > b [3.0]", "q > d", "r > f [1.0]"]),
        (
            ranked, .scored,
            [
                "p > b [3.0]", "p > c [2.0]", "p > a [1.0]", "q > d", "q > e", "r > f [1.0]",
                "r > g [1.0]",
            ]
        ),
        (unpaired, .unpaired, ["p > a true", "q > b false"]),
        (unpaired, .text, ["p > a true"]), (unpaired, .scored, ["p > a", "q > b"]),
        (scored, .scored, ["p > a [0.5]", "q > b [-1.0]"]),
        (scored, .text, ["p > a [0.5]", "q > b [-1.0]"]),
        (scored, .prompt, ["p >  [0.5]", "q >  [-1.0]"]),
    ])
    func becomes(_ lines: String, _ wanted: RowKind, _ expected: [String]) throws {
        #expect(try rows(lines, wanted).1 == expected)
    }

    /// What is made of several rows of one line knows where it came from.
    @Test func placesAndRowsAreTheFiles() throws {
        let (data, _) = try rows(RowConversionTests.ranked, .preference)
        #expect(data.count == 4)
        #expect((0..<4).map { data.fileRow($0) } == [0, 0, 0, 1])
        #expect(data.place(3).hasSuffix("rows.jsonl:2"))
        #expect(data.row(2)["prompt"] == "p")
        #expect(
            data.notes == [
                "ranked lists are used as all their pairs; completions with equal scores make none (3 rows give 4)"
            ])
    }

    /// What would have to be made up is refused.
    @Test(arguments: [
        (
            scored, RowKind.unpaired,
            "completions with a reward cannot be used as completions with a label: what is missing would have to be made up",
            "add \"label\": true or false to every row"
        ),
        (
            scored, .preference,
            "completions with a reward cannot be used as pairs: what is missing would have to be made up",
            "put two answers to one prompt into a row: \"prompt\", \"chosen\", \"rejected\""
        ),
        (
            unpaired, .ranked,
            "completions with a label cannot be used as ranked lists: what is missing would have to be made up",
            "put the answers to one prompt into a row: \"prompt\", \"completions\": [...], \"scores\": [...]"
        ),
        (
            ranked, .unpaired,
            "ranked lists cannot be used as completions with a label: what is missing would have to be made up",
            "add \"label\": true or false to every row"
        ),
        (
            #"{"prompt": "p", "completion": "c"}"#, .unpaired,
            "the row has no \"label\"; found \"prompt\", \"completion\"",
            "add \"label\", or name the field that holds it: \"columns\": {\"label\": \"...\"} in \"data\""
        ),
    ])
    func refuses(_ lines: String, _ wanted: RowKind, _ what: String, _ fix: String) throws {
        let folder = try Folder()
        let found = errors(of: try folder.write("rows.jsonl", lines), wanted: wanted)
        #expect(found.map(\.what) == [what])
        #expect(found.map(\.fix) == [fix])
    }

    /// Hostile rows, all told of at once.
    @Test(arguments: [
        (
            RowKind.scored,
            """
            {"prompt": "p", "completion": "a", "reward": 1}
            {"prompt": "p", "completion": "a", "reward": "high"}
            {"prompt": "p", "completion": "a", "reward": 1e999}
            {"prompt": "p", "completion": "a", "rewards": {"x": [1]}}
            {"prompt": "p", "completion": "a", "rewards": {}}
            {"prompt": "p", "reward": 1}
            """,
            [
                "\"reward\" must be a number, found a string", "",
                "\"rewards\".x must be a number, found a list",
                "\"rewards\" must be an object of numbers, found an object",
                "the row has no \"completion\"; found \"prompt\", \"reward\"",
            ]
        ),
        (
            .ranked,
            """
            {"prompt": "p", "completions": ["a", "b"], "scores": [1, 2]}
            {"prompt": "p", "completions": ["a", "b"], "scores": [1]}
            {"prompt": "p", "completions": ["a"], "scores": [1]}
            {"prompt": "p", "completions": ["a", 3]}
            {"prompt": "p", "completions": []}
            {"prompt": "p", "completions": "ab"}
            {"prompt": "p", "completions": ["a", "b"], "scores": [1, null]}
            {"prompt": "p", "completions": ["a", "b"], "sft_index": 2}
            """,
            [
                "\"scores\" has 1 numbers for 2 completions",
                "\"completions\" has one completion: nothing is ranked",
                "\"completions\"[1] must be a string, found an integer", "\"completions\" is empty",
                "\"completions\" must be a list, found a string",
                "\"scores\"[1] must be a number, found null",
                "\"sft_index\" is 2; the row has 2 completions",
            ]
        ),
        (
            .unpaired,
            """
            {"prompt": "p", "completion": "a", "label": true}
            {"prompt": "p", "completion": "a", "label": "good"}
            {"prompt": "p", "completion": "a", "label": 2}
            {"prompt": "p", "completion": "a", "label": null}
            """,
            [
                "\"label\" must be true or false, found a string",
                "\"label\" must be true or false, found an integer",
                "the row has no \"label\"; found \"prompt\", \"completion\", \"label\"",
            ]
        ),
    ])
    func badRows(_ wanted: RowKind, _ lines: String, _ what: [String]) throws {
        let folder = try Folder()
        let path = try folder.write("rows.jsonl", lines)
        let found = errors(of: path, wanted: wanted)
        #expect(found.count == what.count)
        for (number, (error, text)) in zip(found, what).enumerated() {
            if !text.isEmpty { #expect(error.what == text) }
            #expect(error.at?.hasPrefix("\(path):\(number + 2)") == true && error.code == .badData)
        }
    }

    /// Ranks count those that are better; without scores the order is the ranking.
    @Test func ranks() {
        #expect(RowValues(rewards: [3, 1, 3, 0]).ranks(4) == [0, 2, 0, 3])
        #expect(RowValues().ranks(3) == [0, 1, 2])
    }
}
