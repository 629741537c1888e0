import KeelCore
import KeelData
import Testing

@testable import KeelHost

@Suite struct MismatchedTests {
    private func rows(_ prompts: [Int32]) -> OfflineRows {
        OfflineRows(
            rows: TokenizedRows(
                prompts.enumerated().map { number, prompt in
                    TokenizedRow(
                        index: number, prompt: [prompt], completions: [[Int32(100 + number), 7, 8]])
                })
        ) { _ in .null }
    }

    /// The next row of the step with another prompt, round about; never one's own prompt, whatever the step.
    @Test(arguments: [
        ([1, 2, 3, 4], [0, 1, 2, 3], [1, 2, 3, 0]),
        // Both sides of pairs: the neighbour with the same prompt is passed over.
        ([1, 1, 2, 2, 3, 3], [0, 1, 2, 3], [2, 2, 0, 0]),
        // A step of one prompt borrows from the data set.
        ([1, 1, 2, 2, 3, 3], [0, 1], [2, 2]), ([1, 1, 2, 2, 3, 3], [5], [0]),
        ([1, 2], [1, 0, 1], [0, 1, 0]),
    ])
    func rotates(_ prompts: [Int32], _ places: [Int], _ expected: [Int]) {
        let made = Mismatched(rows(prompts), maxLength: 100).rows(of: places)
        #expect(made.map { Int($0.completions[0][0]) - 100 } == expected)
        #expect(made.map(\.prompt) == places.map { [prompts[$0]] })
    }

    @Test func fitsTheModel() {
        let made = Mismatched(rows([1, 2]), maxLength: 3).rows(of: [0, 1])
        #expect(made.map(\.completions) == [[[101, 7]], [[100, 7]]])
    }
}
