import Testing

@testable import KeelHost

@Suite struct ScaleTests {
    struct Case: Sendable {
        var low: Double
        var high: Double
        var isLog = false
        var labels: [String]
    }

    @Test(arguments: [
        Case(low: 0, high: 1, labels: ["0", "0.25", "0.50", "0.75", "1.00"]),
        Case(low: -2, high: 13, labels: ["0", "5", "10"]),
        Case(low: 0, high: 100_000, labels: ["0", "25k", "50k", "75k", "100k"]),
        Case(low: 0, high: 3e7, labels: ["0", "10M", "20M", "30M"]),
        Case(low: 0, high: 5e-6, labels: ["0", "2e\u{2212}06", "4e\u{2212}06"]),
        Case(
            low: -0.3, high: 0.1, labels: ["\u{2212}0.3", "\u{2212}0.2", "\u{2212}0.1", "0", "0.1"]),
        Case(low: 0.01, high: 100, isLog: true, labels: ["0.01", "0.1", "1", "10", "100"]),
        Case(low: 1, high: 50, isLog: true, labels: ["1", "2", "5", "10", "20", "50"]),
    ])
    func ticksAreRoundNumbers(_ test: Case) {
        let scale = Scale([test.low, test.high], isLog: test.isLog, margin: 0)
        #expect(scale.ticks(4).map(\.label) == test.labels)
    }

    @Test func everyTickIsInside() {
        for (low, high) in [(0.003, 0.0031), (-1e9, 4e11), (7, 7.0001), (1e-12, 3e-12)] {
            for isLog in [false, true] where !isLog || low > 0 {
                let scale = Scale([low, high], isLog: isLog)
                let ticks = scale.ticks(5)
                #expect(ticks.allSatisfy { (-1e-6...1.000001).contains(scale.share($0.value)) })
                if !isLog { #expect(ticks.count >= 2, "\(low) \(high)") }
            }
        }
    }

    @Test(arguments: [
        [Double](), [Double.nan], [Double.infinity, -Double.infinity], [5], [0], [-3, -3],
        [0, 1e300],
        [1e-300, 2e-300],
    ])
    func anyValuesGiveAScale(_ values: [Double]) {
        for isLog in [false, true] {
            let scale = Scale(values, isLog: isLog)
            #expect(scale.low < scale.high && scale.low.isFinite && scale.high.isFinite)
            _ = scale.ticks(5)
        }
    }
}
