import Testing

@testable import KeelBridge

struct MetricSumsTests {
    @Test func mergedSumsEqualTheWhole() {
        let values: [Double] = [1, .nan, 4, -2, 7]
        let results: [MetricSums.How: Double] = [.mean: 2.5, .sum: 10, .min: -2, .max: 7]
        for (how, expected) in results {
            var (whole, left, right) = (MetricSums(), MetricSums(), MetricSums())
            for (index, value) in values.enumerated() {
                whole.add("m", value, how)
                if index < 2 { left.add("m", value, how) } else { right.add("m", value, how) }
            }
            left.merge(right)
            #expect(left == whole)
            #expect(whole["m"] == expected)
        }
    }

    @Test func aMetricWithoutNumbersIsNaN() {
        var sums = MetricSums()
        sums.add("empty", .nan)
        #expect(sums["empty"]?.isNaN == true)
        #expect(sums["unknown"] == nil)
    }
}
