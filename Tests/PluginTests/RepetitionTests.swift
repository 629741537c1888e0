import KeelBridge
import KeelCore
import KeelTestSupport
import Testing

struct RepetitionTests {
    /// "the cat The cat sat": words the cat the cat sat; pairs tc ct tc cs -> 3 of 4.
    @Test(
        arguments: [
            ("corpus", 1, "the cat The cat sat", 3.0 / 5),
            ("corpus", 2, "the cat The cat sat", 0.75),
            ("corpus", 3, "the cat\nThe  cat sat", 1), ("corpus", 3, "a b", 1),
            ("corpus", 2, "", 0),
            ("corpus", 2, " \n ", 0),
            // Case kept, two spaces enclose an empty word, and the divisor is the number of words.
            ("per_word", 1, "the cat The cat sat", 4.0 / 5),
            ("per_word", 2, "the cat The cat sat", 4.0 / 5), ("per_word", 2, "a  a  a", 2.0 / 5),
            ("per_word", 1, "", 0), ("per_word", 2, "one", 1),
        ] as [(String, Int, String, Double)])
    func sharesOfWords(_ measure: String, _ n: Int, _ text: String, _ want: Double) throws {
        let params: JSON = ["measure": .string(measure), "n": JSON(n)]
        expectClose(
            try Workbench.scores("repetition", params, [text]), [want], rtol: 1e-6, atol: 0, text)
        let repeated: JSON = ["measure": .string(measure), "n": JSON(n), "score": "repeated"]
        expectClose(
            try Workbench.scores("repetition", repeated, [text]), [1 - want], rtol: 1e-6,
            atol: 1e-7,
            text)
    }

    /// TRL's penalty on ids: n = 3 over 1 2 3 1 2 3 1: five trigrams, three different.
    @Test(
        arguments: [([1, 2, 3, 1, 2, 3, 1], 0.4), ([5, 5], 0), ([7, 7, 7, 7], 0.5)]
            as [([Int32], Double)])
    func countsTokens(_ ids: [Int32], _ want: Double) throws {
        let reward = try Workbench.reward("repetition", ["measure": "tokens", "score": "repeated"])
        let row = RewardRow(
            id: 0, prompt: [], response: [], tokens: ids, promptTokens: [9, 9, 9, 9])
        try reward.submit([row], context: CallContext())
        expectClose(
            try reward.collect().map { Double($0.value) }, [want], rtol: 1e-6, atol: 0, "\(ids)")
    }
}
