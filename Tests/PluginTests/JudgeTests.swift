import KeelBridge
import KeelCore
import Testing

struct JudgeTests {
    private func questions(_ template: String, _ row: JSON) throws -> [String?] {
        let reward = try Workbench.reward("judge", ["template": .string(template)])
        let asked = RewardRow(
            id: 0, prompt: Array("2+2?".utf8), response: Array("{prompt} 4".utf8), row: row)
        return try reward.ask([asked], context: CallContext()).map {
            $0.map { String(decoding: $0, as: UTF8.self) }
        }
    }

    @Test(
        arguments: [
            ("Q: {prompt} A: {response}", "Q: 2+2? A: {prompt} 4"),
            ("{/meta/gold}|{answer}", "4|{\"x\":1}"), ("{{prompt}} {", "{prompt} {"),
            ("{\"json\": {response}}", "{\"json\": {prompt} 4}"), ("a}b", "a}b"), ("{", "{"),
            ("{}", "{}"), ("plain", "plain"),
        ])
    func fillsTheTemplate(_ template: String, _ want: String) throws {
        let row: JSON = ["meta": ["gold": "4"], "answer": ["x": 1]]
        #expect(try questions(template, row) == [want])
    }

    @Test func aRowWithoutTheFieldIsNotAsked() throws {
        #expect(try questions("{prompt} {/gold}", [:]) == [nil])
    }

    private func verdicts(
        _ params: JSON, _ replies: [String?]
    ) throws -> (
        [Double], [String: Double]
    ) {
        let reward = try Workbench.reward("judge", params)
        try reward.submit(
            replies.enumerated().map {
                RewardRow(
                    id: UInt64($0.offset), prompt: [], response: [],
                    reply: $0.element.map { Array($0.utf8) })
            }, context: CallContext())
        let scores = try reward.collect().map { Double($0.value) }
        let metrics = reward.takeMetrics().values.map { ($0.name, $0.value) }
        return (scores, Dictionary(metrics, uniquingKeysWith: { $1 }))
    }

    @Test(
        arguments: [
            ([:], " Yes, it is.", 1), ([:], "NO!", 0), ([:], "nope", .nan),
            ([:], "yesterday", .nan),
            ([:], "no, yes", 0), (["take": "last"], "no, yes", 1), ([:], "", .nan),
            (["yes": "very good|fine"], "It is very good", 1),
            (["yes": "|", "no": ""], "yes", .nan),
            (["verdict": "number"], "Score: 7/10", 0.7), (["verdict": "number"], "11", .nan),
            (["verdict": "number", "low": 1, "high": 5], "I give 4.", 0.75),
            (["verdict": "number", "take": "last"], "on a scale of 10: 3", 0.3),
            (["verdict": "number"], "yes", .nan), (["verdict": "regex"], "... Verdict: 8", 0.8),
            (["verdict": "regex"], "... Verdict: correct", 1), (["verdict": "regex"], "8", .nan),
            (
                ["verdict": "regex", "pattern": "\\[\\[(\\d+)\\]\\]", "take": "last"],
                "[[2]] no, [[9]]", 0.9
            ),
            (["verdict": "regex", "pattern": "yes|no"], "well, NO", 0),
        ] as [(JSON, String, Double)])
    func readsTheVerdict(_ params: JSON, _ reply: String, _ want: Double) throws {
        let (scores, metrics) = try verdicts(params, [reply])
        #expect(scores[0].isNaN == want.isNaN)
        if !want.isNaN { expectClose(scores, [want], rtol: 1e-6, atol: 0, reply) }
        #expect(metrics["judge/unparsed"] == (want.isNaN ? 1 : 0))
    }

    @Test func aRowThatWasNotAskedIsNotCounted() throws {
        let (scores, metrics) = try verdicts([:], [nil, "yes", "hm"])
        #expect(scores[0].isNaN && scores[1] == 1 && scores[2].isNaN)
        #expect(metrics["judge/unparsed"] == 0.5)
    }

    @Test(
        arguments: [
            (["template": ""], "template is empty: the judge would be asked nothing"),
            (["low": 5, "high": 5], "low must be below high"),
            (
                ["verdict": "regex", "pattern": "(a"],
                "pattern does not compile: missing closing parenthesis at byte 2, before \"\""
            ),
        ] as [(JSON, String)])
    func refusesAtOnce(_ params: JSON, _ want: String) throws {
        #expect(try Workbench.refusal("judge", params) == "reward \"judge\": " + want)
    }
}
