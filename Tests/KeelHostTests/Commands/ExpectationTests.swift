import KeelCore
import Testing

@testable import KeelHost

@Suite struct ExpectationTests {
    private let answer: JSON = [
        "loss": 0.5, "scores": [1.0, "nan", "-inf"], "none": [], "text": "yes",
        "columns": ["a": ["shape": [2, 2], "data": [1.0, 2.0, 3.0, "-inf"]]],
    ]

    @Test(
        arguments: [
            ["loss": 0.5], ["loss": 0.500001], ["scores": [1, "nan", "-inf"]], ["text": "yes"],
            ["columns": ["a": [[1, 2], [3, "-inf"]]]], ["none": []], [:],
            ["columns": ["a": ["shape": [2, 2], "data": [1, 2, 3, "-inf"]]]],
        ] as [JSON])
    func whatIsAsWanted(wanted: JSON) {
        #expect(Expectation(wanted: wanted, tolerance: 1e-5).difference(answer) == nil)
    }

    @Test(
        arguments: [
            (["loss": 0.51], "loss is 0.5, expected 0.51"),
            (["loss": "nan"], "loss is 0.5, expected \"nan\""),
            (["losses": 1], "there is no losses"),
            (["scores": [1, 0, "-inf"]], "scores[1] is \"nan\", expected 0"),
            (["scores": [1, "nan", "inf"]], "scores[2] is \"-inf\", expected \"inf\""),
            (["scores": [1]], "scores is [1.0, \"nan\", \"-inf\"], expected [1]"),
            (["columns": ["a": [1, 2, 3, 4]]], "columns.a has the shape [2, 2], expected [4]"),
            (["columns": ["a": [[1, 2], [4, "-inf"]]]], "columns.a[2] is 3.0, expected 4"),
            (["columns": ["b": [1]]], "there is no columns.b"),
            (["text": ["a": 1]], "text is \"yes\", expected {\"a\":1}"),
        ] as [(JSON, String)])
    func whatDiffersFirst(wanted: JSON, words: String) {
        #expect(Expectation(wanted: wanted, tolerance: 1e-5).difference(answer) == words)
    }
}
