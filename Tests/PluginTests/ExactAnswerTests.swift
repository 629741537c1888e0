import KeelCore
import Testing

struct ExactAnswerTests {
    private func score(_ response: String, _ answer: JSON, _ params: JSON = [:]) throws -> Double {
        try Workbench.scores(
            "exact_answer", params, [Array(response.utf8)], row: ["answer": answer]
        ).scores[0]
    }

    @Test(
        arguments: [
            ("so it is 1,000", "1000.0", 1), ("$1,000.00.", "1000", 1), ("1e3", "1,000", 1),
            ("-5", "5", 0), ("\u{2212}5", "-5", 1), ("a-5", "5", 1), ("I say 41, no, 42.", "42", 1),
            ("42 then 43", "42", 0), ("0.333333", "1/3", 1), ("0.3333", "1/3", 0),
            ("\\frac{1}{2}", "0.5", 1), ("\\boxed{\\frac{1}{2}} or 7", "0.5", 1), ("50%", "50", 1),
            ("\\boxed{3} and \\boxed{4}", "4", 1), ("\\boxed{a{b}c}", "a{b}c", 1),
            ("#### 18\nignore 3", "18", 1), ("Answer: 7 apples\nsee 9", "7", 1),
            ("18", "She has 9*2\n#### 18", 1), ("Paris", "paris", 1), (" \"Paris\". ", "Paris", 1),
            ("the  answer is\tNew   York", "New York", 1), ("Paris, France", "Paris", 0),
            ("", "5", 0), ("2nd of 3", "3", 1), ("1.2.3", "1.2", 1), ("v2", "2", 0),
        ] as [(String, String, Double)])
    func comparesAsPeopleDo(_ response: String, _ answer: String, _ want: Double) throws {
        #expect(try score(response, .string(answer)) == want)
    }

    @Test func takesNumbersAndListsFromTheRow() throws {
        #expect(try score("it is 42", 42) == 1)
        #expect(try score("it is 42", 42.5, ["tolerance": 0.1]) == 1)
        #expect(try score("B", ["A", "b"]) == 1)
        #expect(try score("C", ["A", "b"]) == 0)
        #expect(try score("7", [1, 7]) == 1)
        #expect(try score("a\"b", ["q", "a\"b"]) == 1)
        #expect(try score("3", [["x": [1, 2]], 3]) == 1)
        // A text with brackets is no list.
        #expect(try score("[x]", "[x]") == 1)
    }

    @Test(
        arguments: [
            (["extract": "boxed"], "4", "4", 0),
            (["extract": "boxed", "no_answer": -1], "4", "4", -1),
            (["extract": "boxed"], "\\boxed{4} \\boxed{5", "4", 0),
            (["extract": "last_number"], "\\boxed{4} then 5", "5", 1),
            (["extract": "last_number", "no_answer": -1], "none", "5", -1),
            (["extract": "whole"], "Answer: x", "x", 0), (["extract": "whole"], " x ", "x", 1),
            (["extract": "marker", "markers": "=>"], "4 => 5", "5", 1),
            (["extract": "marker"], "ANSWER: 6", "6", 1),
            (["ignore_case": false], "paris", "Paris", 0), (["compare": "string"], "1.0", "1", 0),
            (["compare": "number"], "x", "x", 0), (["correct": 2, "wrong": -1], "3", "3", 2),
            (["correct": 2, "wrong": -1], "4", "3", -1),
        ] as [(JSON, String, String, Double)])
    func rules(_ params: JSON, _ response: String, _ answer: String, _ want: Double) throws {
        #expect(try score(response, .string(answer), params) == want)
    }

    @Test func aRowWithoutTheFieldHasNoScore() throws {
        #expect(try score("4", .null).isNaN)
        let params: JSON = ["field": "/meta/gold"]
        #expect(try score("4", "4", params).isNaN)
        let nested: JSON = ["meta": ["gold": 4]]
        #expect(
            try Workbench.scores("exact_answer", params, [Array("4".utf8)], row: nested).scores
                == [1])
        #expect(
            try Workbench.refusal("exact_answer", ["field": "answer"])
                == "reward \"exact_answer\": field is a JSON pointer into the data set row, such as \"/answer\""
        )
    }

    @Test func reportsWhatWasAnswered() throws {
        let (_, metrics) = try Workbench.scores(
            "exact_answer", ["extract": "boxed"],
            ["\\boxed{1}", "\\boxed{2}", "3", "4"].map { Array($0.utf8) }, row: ["answer": 1])
        #expect(metrics == ["exact_answer/answered": 0.5, "exact_answer/accuracy": 0.25])
    }
}
