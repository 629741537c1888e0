import KeelCore
import Testing

@testable import KeelHost

@Suite struct StepMetricsTests {
    @Test func meansAreWeightedAndSkipNaN() {
        var metrics = StepMetrics()
        metrics.add("a", 1)
        metrics.add("a", .nan)
        metrics.add("a", 4, weight: 2)
        #expect(metrics.drain() == ["a": 3])
        #expect(metrics.isEmpty)
    }

    @Test func theStateKeepsEveryBit() throws {
        var metrics = StepMetrics()
        metrics.add("x", 0.1)
        metrics.add("x", 1e-300)
        metrics.add("y", .infinity)
        metrics.add("z", 1.0 / 3)
        var copy = StepMetrics(json: try JSON.parse(metrics.json.text()))
        #expect(copy.drain()["z"] == metrics.drain()["z"])
    }
}
