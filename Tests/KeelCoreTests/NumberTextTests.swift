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
    ])
    func fourDigits(value: Double, text: String) {
        #expect(value.text() == text)
    }
}
