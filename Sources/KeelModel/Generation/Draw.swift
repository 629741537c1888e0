import Glibc

/// One distribution over the vocabulary, given by its logits.
struct Draw {
    /// True when there is something to draw and no logit is NaN or +inf.
    let isUsable: Bool
    /// The largest logit.
    private let top: Float
    /// Sum of exp(logit - top).
    private let sum: Double
    private let logSum: Double

    /// - Parameter logits: a row of them.
    init(_ logits: ArraySlice<Float>) {
        var top = -Float.infinity
        var hasNaN = false
        for value in logits {
            if value > top { top = value }
            if value.isNaN { hasNaN = true }
        }
        self.top = top
        isUsable = top.isFinite && !hasNaN
        guard isUsable else {
            (sum, logSum) = (.nan, .nan)
            return
        }
        var sum = 0.0
        for value in logits { sum += Glibc.exp(Double(value - top)) }
        self.sum = sum
        logSum = Glibc.log(sum)
    }

    /// log p of one of the row's tokens.
    func logprob(_ logit: Float) -> Float { Float(Double(logit) - Double(top) - logSum) }

    /// The token whose share of [0, 1) holds `u`: inverse of the cumulative distribution.
    ///
    /// - Returns: the index in the row; never one of probability 0.
    func token(_ logits: ArraySlice<Float>, _ u: Double) -> Int32 {
        let target = u * sum
        var reached = 0.0
        var last = 0
        for (i, value) in logits.enumerated() where value > -.infinity {
            let p = Glibc.exp(Double(value - top))
            guard p > 0 else { continue }
            reached += p
            last = i
            if reached > target { return Int32(i) }
        }
        return Int32(last)
    }
}
