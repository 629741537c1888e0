import KeelCore
import Testing

@testable import KeelData

struct TokenizedRowsTests {
    private static let rows = [
        TokenizedRow(index: 1, prompt: [5, 6], completions: [[7], [8, 9, 10]]),
        TokenizedRow(
            index: 4, prompt: [5], completions: [Array(0..<40), [2], []],
            masks: [(0..<40).map { $0 % 3 == 0 }, [false], []]),
        TokenizedRow(index: 9, prompt: [1, 2, 3], completions: [[], []]),
    ]

    /// In memory, and in a file.
    private func both(_ folder: Folder) throws -> [TokenizedRows] {
        let cache = TokenCache(directory: folder.path, key: "00112233445566778899")
        try cache.write { give in
            for row in TokenizedRowsTests.rows { try give(row) }
            return TokenizedDataset.Counts(droppedLongPrompt: 2, truncated: 1)
        }
        let read = try #require(cache.read(.ranked, rowLimit: 10))
        #expect(read.counts == TokenizedDataset.Counts(droppedLongPrompt: 2, truncated: 1))
        return [TokenizedRows(TokenizedRowsTests.rows), read.rows]
    }

    @Test func givesBackWhatItWasMadeOf() throws {
        let folder = try Folder()
        for rows in try both(folder) {
            #expect(Array(rows) == TokenizedRowsTests.rows)
            #expect(rows.indexes == [1, 4, 9])
            #expect(rows.shapes.map(\.prompt) == [2, 1, 3])
            #expect((0..<11).map { rows.place(ofIndex: $0) }.compactMap { $0 } == [0, 1, 2])
            #expect(rows.place(ofIndex: 4) == 1 && rows.place(ofIndex: 5) == nil)
        }
    }

    /// The masks go with their completions, and rows that go take nothing of the others along.
    @Test func sortsAndLeavesOut() throws {
        let folder = try Folder()
        for var rows in try both(folder) {
            rows.sort(1, by: [2, 0, 1])
            rows.sort(1, by: [1, 0, 2])
            rows.keep { $0 != 1 }
            var sorted = TokenizedRowsTests.rows[1]
            sorted.completions = [Array(0..<40), [], [2]]
            sorted.masks = sorted.masks.map { [$0[0], $0[2], $0[1]] }
            #expect(Array(rows) == [sorted, TokenizedRowsTests.rows[2]])
            #expect(rows.shape(of: 0) == RowShape(index: 4, prompt: 1, completions: [40, 0, 1]))
            #expect(rows.place(ofIndex: 1) == nil && rows.place(ofIndex: 9) == 1)
        }
    }

    /// A file with rows of another data set, or not in its order, is not this one's.
    @Test func refusesRowsThatCannotBeTheDataSets() throws {
        let folder = try Folder()
        let cache = TokenCache(directory: folder.path, key: "0011223344556677")
        let ranked = TokenCache(directory: folder.path, key: "8899aabbccddeeff")
        try ranked.write { give in
            for row in TokenizedRowsTests.rows { try give(row) }
            return TokenizedDataset.Counts()
        }
        #expect(ranked.read(.ranked, rowLimit: 10) != nil)
        #expect(ranked.read(.preference, rowLimit: 10) == nil)
        for numbers in [[0, 3], [1, 0], [1, 1]] {
            try cache.write { give in
                for number in numbers {
                    try give(TokenizedRow(index: number, prompt: [1], completions: []))
                }
                return TokenizedDataset.Counts()
            }
            #expect(cache.read(.prompt, rowLimit: 3) == nil, "\(numbers)")
        }
    }

    /// What cannot be made leaves no file.
    @Test func anErrorLeavesNothing() throws {
        let folder = try Folder()
        let cache = TokenCache(directory: folder.path, key: "0011223344556677")
        let error = KeelError("data", "bad", code: .badData)
        #expect(throws: error) {
            try cache.write { give in
                try give(TokenizedRowsTests.rows[0])
                throw error
            }
        }
        #expect(try Files.list(folder.path).isEmpty)
    }

    @Test func valuesAreKeptOnceThereAreAny() {
        var values = DatasetValues()
        values.append(RowValues())
        values.append(RowValues())
        #expect(values.count == 2 && values.allSatisfy { $0 == RowValues() })
        values[0].label = nil
        values.append(RowValues(label: true))
        values[1].margin = 2
        #expect(values.map(\.label) == [nil, nil, true])
        #expect(values.map(\.margin) == [nil, 2, nil])
        var first = DatasetValues()
        first.append(RowValues(rewards: [1]))
        first.append(RowValues())
        #expect(first.map(\.rewards) == [[1], nil])
    }
}
