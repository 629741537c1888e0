import KeelCore
import Testing

@testable import KeelHost

@Suite struct EvalTableTests {
    @Test func aColumnForEachModel() throws {
        let report: JSON = [
            "rows": 3, "n": 2, "temperature": 0.7, "judge": "combined reward: 1.0 x a",
            "model": [
                "name": "dpo", "reward": 0.75, "reward_interval_95": [0.5, 1.0],
                "rewards": ["a": 0.75],
                "rewards_interval_95": ["a": [0.5, 1.0]], "length_tokens": 12.5,
                "distinct_1_corpus": 0.5,
                "distinct_1_per_word": 0.25,
            ],
            "against": ["name": "base", "reward": -1, "rewards": ["a": -1], "length_tokens": 20],
            "win_rate": 0.8, "win_rate_interval_95": [0.6, 0.9], "ties": 0.1,
            "reward_difference": -0.5,
            "reward_difference_interval_95": [-1.0, 0.0], "kl": 2.5, "kl_per_token": 0.2,
        ]
        #expect(
            EvalTable(report).text == """
                                       dpo             base
                reward                 0.75 [0.5, 1]   -1
                  a                    0.75 [0.5, 1]   -1
                length, tokens         12.5            20
                distinct-1, corpus     0.5
                distinct-1, per word   0.25

                wins 0.8 [0.6, 0.9], ties 0.1 (half a win each), reward -0.5 [-1, 0]
                KL to base: 2.5 nats a completion, 0.2 a token
                3 prompts, 2 completions each at temperature 0.7; intervals: bootstrap over the prompts, 95 %
                judge: combined reward: 1.0 x a
                """)
    }
}

@Suite struct PromptMeansTests {
    @Test(arguments: [
        ([1.0, 3, 5, 7], 2, [2.0, 6]), ([1, .nan, .nan, .nan], 2, [1]), ([1, 2, 3], 1, [1, 2, 3]),
        ([], 2, []),
    ])
    func promptsAreResampledNotCompletions(_ numbers: [Double], _ count: Int, _ means: [Double]) {
        #expect(PromptMeans(numbers, count: count).values == means)
    }
}
