import Foundation
import KeelCore
import Testing

@Suite struct NumberTextTests {
    /// What C's `%.4g` prints, but whole numbers below 10 million in full.
    @Test(arguments: [
        (0.0, "0"), (1, "1"), (-1.5, "-1.5"), (0.693147, "0.6931"), (12345.678, "12350"),
        (0.00012346, "0.0001235"),
        (0.00001, "1e-05"), (1e-7, "1e-07"), (9.99996, "10"), (99999999, "1e+08"), (0.1, "0.1"),
        (1e100, "1e+100"),
        (.infinity, "inf"), (-.infinity, "-inf"), (.nan, "nan"), (1000, "1000"), (-0.05, "-0.05"),
        (.leastNonzeroMagnitude, "4.941e-324"), (-.leastNonzeroMagnitude, "-4.941e-324"),
        (Double("1e-310") ?? 0, "1e-310"), (1e-305, "1e-305"),
        (2.2250738585072014e-308, "2.225e-308"), (1.7e308, "1.7e+308"),
        (-1.7976931348623157e308, "-1.798e+308"),
    ])
    func fourDigits(value: Double, text: String) {
        #expect(value.text() == text)
    }

    /// The least and the largest numbers, in every length.
    @Test(arguments: [
        .leastNonzeroMagnitude, -.leastNonzeroMagnitude, 1.1e308, -1.1e308, 3e-306,
    ])
    func anyNumberInAnyLength(value: Double) throws {
        for digits in 1...15 {
            let read = try #require(Double(value.text(digits: digits)))
            let bound = digits == 1 ? 0.5 : 5 * pow(0.1, Double(digits))
            #expect(abs(read / value - 1) <= bound, "\(value.text(digits: digits))")
        }
    }
}
