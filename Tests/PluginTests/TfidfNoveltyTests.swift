import Glibc
import KeelBridge
import KeelCore
import Testing

struct TfidfNoveltyTests {
    private func scores(
        _ params: JSON, _ rows: [(group: Int32, prompt: String, response: String)], row: JSON = [:]
    ) throws -> [Double] {
        let reward = try Workbench.reward("tfidf_novelty", params)
        try reward.submit(
            rows.enumerated().map {
                RewardRow(
                    id: UInt64($0.offset), prompt: Array($0.element.prompt.utf8),
                    response: Array($0.element.response.utf8), row: row, group: $0.element.group)
            }, context: CallContext())
        return try reward.collect().map { Double($0.value) }
    }

    /// Three documents: "a b", "a b", "c": idf(a) = idf(b) = ln(4/3) + 1, idf(c) = ln 2 + 1.
    @Test func oneMinusTheClosestOfTheGroup() throws {
        let got = try scores([:], [(0, "", "a b"), (0, "", "A, b!"), (0, "", "c")])
        expectClose(got, [0, 0, 1], rtol: 0, atol: 1e-6, "group")
        let mean = try scores(["take": "mean"], [(0, "", "a b"), (0, "", "A, b!"), (0, "", "c")])
        expectClose(mean, [0.5, 0.5, 1], rtol: 0, atol: 1e-6, "mean")
    }

    // "a b" and "a c": a is in both, idf 1; b, c in one of two, idf ln 1.5 + 1 = w. cos = 1 / (1 + w^2).
    @Test func weighsRareTermsMore() throws {
        let w = log(1.5) + 1
        let want = 1 - 1 / (1 + w * w)
        let got = try scores([:], [(7, "", "a b"), (7, "", "a c"), (1, "", "lonely")])
        expectClose(Array(got.prefix(2)), [want, want], rtol: 1e-6, atol: 0, "group of two")
        #expect(got[2].isNaN)
        expectClose(
            try scores(["against": "prompt"], [(0, "a c", "a b"), (0, "x", "a b")]), [want, 1],
            rtol: 1e-6, atol: 0, "prompt")
        let row: JSON = ["references": ["a c", "z"]]
        expectClose(
            try scores(["against": "field"], [(0, "", "z")], row: row), [0], rtol: 0, atol: 1e-6,
            "references")
        #expect(try scores(["against": "field"], [(0, "", "z")])[0].isNaN)
    }

    @Test func silenceIsNotNew() throws {
        #expect(try scores([:], [(0, "", ""), (0, "", " ... "), (0, "", "word")]) == [0, 0, 1])
    }

    /// The order of a group, and the other groups of the call, change no bit.
    @Test func dependsOnNothingButTheGroup() throws {
        let texts = ["the cat sat on the mat", "a dog sat", "the mat is old, the cat too", "cat"]
        let own = texts.map { (group: Int32(3), prompt: "", response: $0) }
        let other = [(group: Int32(5), prompt: "", response: "the cat"), (5, "", "sat sat sat")]
        let plain = try scores([:], own)
        #expect(try scores([:], own.reversed()) == plain.reversed())
        #expect(try Array(scores([:], other + own).suffix(4)) == plain)
        #expect(try Workbench.reward("tfidf_novelty").component.flags.contains(.coupled))
    }
}
