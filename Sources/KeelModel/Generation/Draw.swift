import Glibc

/// One distribution over the vocabulary, given by its logits.
struct Draw {
    /// log Σ exp(logits): NaN when a logit is, -inf when nothing may be drawn.
    let logNormaliser: Double
    private let top: Float

    /// - Parameter logits: a row of them.
    init(_ logits: ArraySlice<Float>) {
        var top = -Float.infinity
        var hasNaN = false
        for value in logits {
            if value > top { top = value }
            if value.isNaN { hasNaN = true }
        }
        self.top = top
        guard !hasNaN, top.isFinite else {
            logNormaliser = hasNaN || top == .infinity ? .nan : -.infinity
            return
        }
        var sum = 0.0
        for value in logits { sum += Glibc.exp(Double(value - top)) }
        logNormaliser = Double(top) + Glibc.log(sum)
    }

    /// True when there is something to draw and no logit is NaN or +inf.
    var isUsable: Bool { logNormaliser.isFinite }

    /// log p of one of the row's tokens.
    func logprob(_ logit: Float) -> Float { Float(Double(logit) - logNormaliser) }

    /// The token whose share of [0, 1) holds `u`: inverse of the cumulative distribution.
    ///
    /// - Returns: the index in the row; never one of probability 0.
    func token(_ logits: ArraySlice<Float>, _ u: Double) -> Int32 {
        let target = u * Glibc.exp(logNormaliser - Double(top))
        var sum = 0.0
        var last = 0
        for (i, value) in logits.enumerated() where value > -.infinity {
            let p = Glibc.exp(Double(value - top))
            guard p > 0 else { continue }
            sum += p
            last = i
            if sum > target { return Int32(i) }
        }
        return Int32(last)
    }
}
