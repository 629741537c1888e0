import KeelTensor
import Testing

/// How far two numbers may lie apart: |a - b| <= absolute + relative · max(|a|, |b|).
package struct Tolerance: Sendable, CustomStringConvertible {
    package var relative: Double
    package var absolute: Double

    package init(relative: Double, absolute: Double = 0) {
        self.relative = relative
        self.absolute = absolute
    }

    /// Same number.
    package static let exact = Tolerance(relative: 0)

    /// A chain of n additions of terms of order 1 in f32 against f64: partial sums grow like sqrt(i), each step
    /// rounds by up to 2^-24 of that, errors of random sign add to 2^-24 n / sqrt 2; at least 16 steps.
    package static func f32Reduction(_ n: Int) -> Tolerance {
        let error = 0x1p-24 * Double(max(n, 16))
        return Tolerance(relative: error, absolute: error)
    }

    /// Cells stored in bf16 (8 bits of significand): half an ulp is 2^-9; `steps` roundings one after another.
    package static func bf16(_ steps: Int = 1) -> Tolerance {
        let error = Double(steps) * 0x1p-8
        return Tolerance(relative: error, absolute: error)
    }

    /// Central differences in f64 with step 1e-5: truncation h² f''' / 6 and rounding 2^-53 / h are both 1e-11 of
    /// the values' size; 1e-6 leaves room for sums of a thousand cells and sharp third derivatives.
    package static let differences = Tolerance(relative: 1e-6, absolute: 1e-7)

    func holds(_ a: Double, _ b: Double) -> Bool {
        if a == b || (a.isNaN && b.isNaN) { return true }
        return abs(a - b) <= absolute + relative * max(abs(a), abs(b))
    }

    package var description: String { "relative \(relative), absolute \(absolute)" }
}

/// Expects two lists to agree cell by cell, and says where they differ most.
package func expectClose(
    _ actual: [Double], _ expected: [Double], _ tolerance: Tolerance, _ what: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
) {
    guard actual.count == expected.count else {
        Issue.record(
            "\(what): \(actual.count) cells, expected \(expected.count)",
            sourceLocation: sourceLocation)
        return
    }
    let wrong = actual.indices.filter { !tolerance.holds(actual[$0], expected[$0]) }
    guard
        let worst = wrong.max(by: {
            abs(actual[$0] - expected[$0]) < abs(actual[$1] - expected[$1])
        })
    else {
        return
    }
    Issue.record(
        "\(what): \(wrong.count) of \(actual.count) cells differ, cell \(worst): \(actual[worst]), expected \(expected[worst]) (\(tolerance))",
        sourceLocation: sourceLocation)
}

/// The same for tensors, whatever they are stored as.
package func expectClose(
    _ actual: Tensor, _ expected: Tensor, _ tolerance: Tolerance, _ what: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(actual.shape == expected.shape, "\(what)", sourceLocation: sourceLocation)
    expectClose(
        actual.doubles(), expected.doubles(), tolerance, what, sourceLocation: sourceLocation)
}
