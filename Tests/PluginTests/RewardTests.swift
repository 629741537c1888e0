import KeelCore
import Testing

struct LengthTests {
    @Test(arguments: [("bytes", 10), ("characters", 9), ("words", 2)] as [(String, Int)])
    func countsInItsUnit(_ unit: String, _ count: Int) throws {
        // 9 code points, 10 bytes, for ü has two.
        let text = "grün cafe"
        let request: JSON = [
            "params": ["target": .int(Int64(count)), "unit": .string(unit)],
            "text": ["response": [.string(text)]],
        ]
        expectClose(
            try Workbench.eval("length", request).at("scores").cells, [1], rtol: 0, atol: 0, unit)
    }

    @Test func fallsOffOnBothSides() throws {
        let request: JSON = [
            "params": ["target": 4], "text": ["response": ["ab", "abcd", "abcdefgh", ""]],
        ]
        expectClose(
            try Workbench.eval("length", request).at("scores").cells, [0.5, 1, 0.5, 0], rtol: 0,
            atol: 0, "scores")
    }
}

struct LexiconTests {
    @Test func isTheShareOfWords() throws {
        let request: JSON = [
            "params": ["words": ["please", "Thanks"], "avoid": ["never"]],
            "text": [
                "response": ["Please, please: THANKS a lot", "never ever", "", "nothing here"]
            ],
        ]
        let scores = try Workbench.eval("lexicon", request).at("scores").cells
        expectClose(scores, [0.6, -0.5, 0, 0], rtol: 1e-6, atol: 0, "scores")
    }

    @Test func anEmptyListIsRefused() throws {
        let request: JSON = ["params": ["words": []], "text": ["response": ["a"]]]
        #expect(throws: (any Error).self) { try Workbench.eval("lexicon", request) }
    }

    @Test(arguments: ["[1]", "{}", "\"a\""]) func onlyListsOfTextsAreTaken(_ json: String) throws {
        let words = try JSON.parse(json, name: "words")
        let request: JSON = ["params": ["words": words], "text": ["response": ["a"]]]
        #expect(throws: (any Error).self) { try Workbench.eval("lexicon", request) }
    }
}
