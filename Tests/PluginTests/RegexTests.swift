import KeelCore
import Testing

struct RegexTests {
    @Test(
        arguments: [
            (["pattern": "^yes"], ["yes sir", "oh yes", ""], [1, 0, 0]),
            (["pattern": "^yes", "flags": "im"], ["no\nYES", "yesyes"], [1, 1]),
            (["pattern": "a.b"], ["a\nb", "axb"], [0, 1]),
            (["pattern": "a.b", "flags": "s"], ["a\nb", "axb"], [1, 1]),
            (["pattern": "a b # c", "flags": "x"], ["ab", "a b"], [1, 0]),
            // é is a letter for \w, unless the classes are ASCII.
            (["pattern": "^\\w+$"], ["né"], [1]),
            (["pattern": "^\\w+$", "flags": "a"], ["né"], [0]),
            (
                ["pattern": "bad", "match_score": -2, "miss_score": 0.5], ["bad", "good"],
                [-2, 0.5]
            ),
            (
                ["pattern": "[ab]+", "mode": "fullmatch"], ["abba", "abbac", " ab", ""],
                [1, 0, 0, 0]
            ),
            // Alternatives are tried until one takes the whole text.
            (["pattern": "a|ab", "mode": "fullmatch"], ["ab"], [1]),
            (["pattern": "aa", "mode": "count"], ["aaaaa", "", "aab aa"], [2, 0, 2]),
            // Empty matches do not count, and do not stop the search.
            (["pattern": "a*", "mode": "count"], ["baac a", "bbb"], [2, 0]),
            (["pattern": "a", "mode": "count", "max_count": 2], ["aaaa"], [2]),
            (["pattern": "\\byes\\b", "text": "prompt"], ["no"], [0]),
        ] as [(JSON, [String], [Double])])
    func scores(_ params: JSON, _ responses: [String], _ want: [Double]) throws {
        #expect(try Workbench.scores("regex", params, responses) == want)
    }

    @Test(
        arguments: [
            ("score: (\\S+)", 1, "score: -1,250.5!", -1250.5), ("(\\d+)/(\\d+)", 2, "3/4", 4),
            ("\\d+", 0, "a 17 b", 17), ("(x)?y(\\d)", 1, "y5", .nan), ("(\\w+)", 1, "word", .nan),
            ("(\\d+)", 1, "none", .nan), ("(\\S+)", 1, "1e999", .nan),
        ] as [(String, Int, String, Double)])
    func readsTheNumberOfAGroup(
        _ pattern: String, _ group: Int, _ text: String, _ want: Double
    )
        throws
    {
        let params: JSON = ["pattern": .string(pattern), "mode": "value", "group": JSON(group)]
        let got = try Workbench.scores("regex", params, [text])[0]
        #expect(got == want || got.isNaN && want.isNaN, "\(got)")
    }

    @Test(
        arguments: [
            (
                ["pattern": "a(b"],
                "pattern does not compile: missing closing parenthesis at byte 3, before \"\""
            ),
            (
                ["pattern": "x+*[ab"],
                "pattern does not compile: quantifier does not follow a repeatable item at byte 2, before \"*[ab\""
            ),
            (
                ["pattern": "a", "flags": "iq"],
                "unknown flag 'q' in \"iq\"; known: i (case), m (lines), s (dot takes newlines), "
                    + "x (spaces and comments), U (ungreedy), a (ASCII classes)"
            ),
            (
                ["pattern": "(a)", "mode": "value", "group": 2],
                "group is 2, but the pattern has 1 groups"
            ),
            (
                ["pattern": "\\C"],
                "pattern does not compile: using \\C is disabled by the application at byte 2, before \"\""
            ),
        ] as [(JSON, String)])
    func refusesAtOnce(_ params: JSON, _ want: String) throws {
        #expect(try Workbench.refusal("regex", params) == "reward \"regex\": " + want)
    }

    /// Patterns whose cost grows with a power of the text, on texts that bring it out.
    @Test(arguments: ["(a+)+$", "(a|aa)+[xy]$", "(.*)*[xy]\\z", "a*a*a*a*a*a*b", "(?=(a+))a*b\\1"])
    func cannotHang(_ pattern: String) throws {
        let text = [UInt8](repeating: 0x61, count: 100_000) + Array("!x!b!".utf8)
        let params: JSON = ["pattern": .string(pattern), "step_limit": 1_000_000]
        let clock = ContinuousClock()
        let start = clock.now
        let (scores, metrics) = try Workbench.scores("regex", params, [text, Array("ok".utf8)])
        #expect(scores[0].isNaN && scores[1] == 0)
        #expect(metrics["regex/gave_up"] == 0.5)
        #expect(clock.now - start < .seconds(20))
        // The same cost every time.
        #expect(try Workbench.scores("regex", params, [text]).scores[0].isNaN)
    }

    @Test func bytesThatAreNotTextMatchNothing() throws {
        let broken: [UInt8] = Array("ab".utf8) + [0xFF] + Array("cd".utf8)
        let search = { (pattern: String) in
            try Workbench.scores("regex", ["pattern": .string(pattern)], [broken]).scores[0]
        }
        #expect(try search("cd") == 1)
        #expect(try search("b.c") == 0)
        #expect(try search("^cd") == 0)
    }
}
