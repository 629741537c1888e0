import KeelCore
import Testing

@testable import KeelData

struct PackingTests {
    /// What a packed token may see: its keys in order, as (id, position).
    private func seen(_ packing: Packing, _ token: Int) -> [[Int32]] {
        for span in packing.spans where span.queries.contains(token) {
            let last = span.keys.count - 1
            return span.keys.enumerated().flatMap { i, keys in
                keys.filter { i < last || $0 - keys.lowerBound <= token - span.queries.lowerBound }
                    .map { [packing.ids[$0], packing.positions[$0]] }
            }
        }
        return []
    }

    private func rows(_ seed: UInt64) -> [TokenizedRow] {
        let random = RandomStream(seed: seed, place: "rows")
        var n: UInt64 = 0
        func draw(_ range: ClosedRange<Int>) -> Int {
            defer { n += 1 }
            return range.lowerBound + Int(random.bits(n) % UInt64(range.count))
        }
        return (0..<draw(1...5)).map { index in
            let prompt = (0..<draw(1...6)).map { _ in Int32(draw(0...99)) }
            let sides = (0..<draw(1...3)).map { _ in
                (0..<draw(1...5)).map { _ in Int32(draw(0...99)) }
            }
            return TokenizedRow(index: index, prompt: prompt, completions: sides)
        }
    }

    /// Each target is predicted from exactly its own sequence up to the token before it, whatever is packed beside it.
    @Test(arguments: Array<UInt64>(0..<40))
    func everyTargetSeesItsOwnSequenceAndNothingElse(_ seed: UInt64) {
        let rows = rows(seed)
        let packing = Packing(rows)
        var completion = 0
        for row in rows {
            for side in row.completions {
                let sequence = row.prompt + side
                let range = packing.completions[completion]
                #expect(Array(packing.targets[range]) == side)
                for (i, target) in range.enumerated() {
                    let end = row.prompt.count + i
                    let want = (0..<end).map { [sequence[$0], Int32($0)] }
                    #expect(
                        seen(packing, Int(packing.scored[target])) == want,
                        "seed \(seed), completion \(completion), token \(i)")
                }
                completion += 1
            }
        }
        #expect(packing.completions.count == completion)
        #expect(packing.targets.count == packing.scored.count)
        // Every token is the query of one span.
        let queries = packing.spans.flatMap { Array($0.queries) }
        #expect(queries.sorted() == Array(packing.ids.indices))
    }

    @Test func promptsArePackedOnceAndLastTokensNotAtAll() {
        let rows = [TokenizedRow(index: 0, prompt: [1, 2, 3], completions: [[4, 5], [6, 7, 8]])]
        #expect(Packing(rows).ids == [1, 2, 3, 4, 6, 7])
        #expect(Packing(rows).positions == [0, 1, 2, 3, 3, 4])
    }
}

struct EpochOrderTests {
    @Test(arguments: [(1, 1), (5, 2), (16, 16), (17, 16), (3, 8)])
    func anEpochTakesEveryPositionOnce(_ rows: Int, _ perStep: Int) {
        let order = EpochOrder(rowCount: rows, rowsPerStep: perStep)
        for epoch in 0..<3 {
            let steps = (epoch * order.stepsPerEpoch)..<((epoch + 1) * order.stepsPerEpoch)
            #expect(steps.flatMap { Array(order.positions(of: $0)) } == Array(0..<rows))
            #expect(
                steps.allSatisfy {
                    order.epoch(of: $0) == epoch && !order.positions(of: $0).isEmpty
                })
        }
        #expect(order.progress(after: 0) == 0)
        #expect(order.progress(after: order.stepsPerEpoch) == 1)
    }

    @Test func progressCountsRows() {
        #expect(EpochOrder(rowCount: 5, rowsPerStep: 2).progress(after: 4) == 1.4)
    }

    /// Completions of one prompt share the keys of the prompt and nothing else, in whatever batch they are.
    @Test func siblingsHaveKeysOfTheirOwn() {
        let rows = (0..<3).map { sibling in
            var row = TokenizedRow(index: 4, prompt: [1, 2], completions: [[5, 6, 7]])
            row.sibling = sibling
            return row
        }
        let together = Packing(rows).tokenKeys(rows)
        #expect(Set(together).count == together.count)
        for (i, row) in rows.enumerated() {
            let alone = Packing([row]).tokenKeys([row])
            #expect(alone.prefix(2) == together.prefix(2))
            let own = alone.count - 2
            #expect(alone.suffix(own) == together[(2 + i * own)..<(2 + (i + 1) * own)])
        }
    }
}
