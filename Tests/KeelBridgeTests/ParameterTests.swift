import KeelCore
import Testing

@testable import KeelBridge

struct ParameterTests {
    @Test func defaultsAreFilledInOrder() throws {
        let values = try Zoo.component("zoo_dpo").validate(params: ["label_smoothing": 0])
        #expect(values.values.keys == ["beta", "label_smoothing"])
        #expect(values["beta"] == .double(0.1))
        #expect(values["label_smoothing"] == .double(0))
    }

    static let mistakes: [(JSONObject, String)] = [
        (["betta": 1], "has no parameter \"betta\"\n  at:  here\n  fix: did you mean \"beta\"?"),
        (
            ["beta": 0],
            "parameter \"beta\" is 0, which is out of range\n  at:  here\n  fix: allowed: 1e-06 ... 100, default 0.1"
        ),
        (["beta": "much"], "parameter \"beta\" must be a number, not a string"),
        (["beta": true], "parameter \"beta\" must be a number, not true or false"),
    ]

    @Test(arguments: mistakes.indices) func mistakesAreNamed(_ number: Int) throws {
        let component = try Zoo.component("zoo_dpo")
        let (params, expected) = ParameterTests.mistakes[number]
        let text = message { _ = try component.validate(params: params, place: "here") }
        #expect(text.contains(expected), "\(text)")
    }

    @Test func allMistakesComeTogether() throws {
        let component = try Zoo.component("zoo_dpo")
        let errors = #expect(throws: KeelErrors.self) {
            try component.validate(params: ["betta": 1, "beta": -1, "label_smoothing": 0.7])
        }
        #expect(errors?.errors.count == 3)
    }
}
