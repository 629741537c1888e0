import Testing

@testable import KeelHost

@Suite struct DistinctNTests {
    @Test func theTwoDefinitionsDiffer() {
        let texts = ["the cat  the cat", "The dog"]
        #expect(DistinctN.corpus(texts, 1) == 3.0 / 6)  // the cat dog / 6 words
        #expect(DistinctN.corpus(texts, 2) == 3.0 / 4)  // the-cat, cat-the, the-dog / 3 + 1
        #expect(DistinctN.perWord(texts, 1) == 5.0 / 7)  // the cat "" The dog / 5 + 2
        #expect(DistinctN.corpus([], 1) == 0)
        #expect(DistinctN.perWord(["one"], 2) == 0)
    }
}

@Suite struct BootstrapTests {
    @Test func theIntervalHoldsTheMeanAndHasTheRightWidth() {
        let values = (0..<400).map { Double($0 % 2) }
        let (low, high) = Bootstrap.interval(values, seed: 1)
        // The standard error is 0.025; the interval is about 2 x 1.96 of it, within 15 %.
        #expect(low < 0.5 && high > 0.5)
        #expect(abs((high - low) - 2 * 1.96 * 0.025) < 0.15 * 0.098)
        #expect(Bootstrap.interval(values, seed: 1) == (low, high))
    }

    @Test func oneValueIsItsOwnInterval() {
        #expect(Bootstrap.interval([3], seed: 1) == (3, 3))
    }
}
