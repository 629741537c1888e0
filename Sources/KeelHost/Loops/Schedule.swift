import Glibc

/// The learning rate as a function of the optimizer step, as transformers' schedulers compute it.
package struct Schedule: Sendable {
    package enum Kind: String, Sendable, CaseIterable {
        /// Down to 0 at the last step, in a straight line.
        case linear
        /// Half a cosine down to 0.
        case cosine
        case constant
        case constantWithWarmup = "constant_with_warmup"
    }

    package let kind: Kind
    package let peak: Double
    package let warmupSteps: Int
    package let totalSteps: Int

    package init(kind: Kind, peak: Double, warmupSteps: Int, totalSteps: Int) {
        self.kind = kind
        self.peak = peak
        self.warmupSteps = kind == .constant ? 0 : warmupSteps
        self.totalSteps = totalSteps
    }

    /// The rate that step `step` (from 0) is made with.
    package func rate(at step: Int) -> Double {
        if step < warmupSteps { return peak * Double(step) / Double(max(1, warmupSteps)) }
        let rest = Double(max(1, totalSteps - warmupSteps))
        let progress = min(1, Double(step - warmupSteps) / rest)
        switch kind {
        case .constant, .constantWithWarmup: return peak
        case .linear: return peak * (1 - progress)
        case .cosine: return peak * 0.5 * (1 + cos(Double.pi * progress))
        }
    }
}
