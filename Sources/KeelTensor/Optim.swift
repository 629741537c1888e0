import CKernels

/// The arithmetic of an optimizer step.
package enum Optim {
    /// One weight and what goes with it, all of the same shape.
    package struct Parameter: Sendable {
        /// The weight, f32 (f64 under f64).
        package var master: Tensor
        package var gradient: Tensor
        /// Running means of the gradient and its square.
        package var m: Tensor
        package var v: Tensor
        /// The copy the model computes with, rewritten from the master; nil when that is the master itself.
        package var lowPrecision: Tensor?
        /// The share of decoupled weight decay: 0 for biases and norms.
        package var weightDecay: Double
        /// The learning rate of this weight.
        package var lr: Double

        package init(
            master: Tensor, gradient: Tensor, m: Tensor, v: Tensor, lowPrecision: Tensor? = nil,
            lr: Double,
            weightDecay: Double
        ) {
            self.master = master
            self.gradient = gradient
            self.m = m
            self.v = v
            self.lowPrecision = lowPrecision
            self.lr = lr
            self.weightDecay = weightDecay
        }
    }

    /// One AdamW step over all parameters, in place.
    ///
    ///     m <- β1 m + (1 - β1) g,  v <- β2 v + (1 - β2) g²,  g = scale · gradient
    ///     w <- (1 - lr λ) w - lr m / (1 - β1^t) / (sqrt(v / (1 - β2^t)) + ε)
    ///
    /// Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2, with torch's order of operations.
    ///
    /// - Parameters:
    ///   - step: t, from 1.
    ///   - scale: multiplies the gradients first (clipping, averaging).
    ///   - areMomentsFresh: whether m and v are zeros that nobody has touched: memory that is written before it is
    ///     read is looked for once, not twice.
    package static func adamW(
        _ parameters: [Parameter], beta1: Double = 0.9, beta2: Double = 0.999, eps: Double = 1e-8,
        step: Int,
        scale: Double = 1, areMomentsFresh: Bool = false
    ) {
        precondition(step >= 1, "AdamW step \(step)")
        for p in parameters {
            let type = p.master.dtype
            precondition(
                [p.gradient, p.m, p.v].allSatisfy { $0.count == p.master.count && $0.dtype == type }
                    && type == type.accumulator
                    && (p.lowPrecision.map { $0.count == p.master.count } ?? true),
                "AdamW on \(p.master.shape) of \(type)")
        }
        let common = ck_adamw(
            lr: 0, beta1: beta1, beta2: beta2, eps: eps, decay: 0,
            correction1: 1 - beta1.raised(to: step),
            correction2: 1 - beta2.raised(to: step), scale: scale)
        Kernels.adamW(parameters, common, areMomentsFresh: areMomentsFresh)
    }

    /// Σ x² over all cells of all tensors, in f64 and in a fixed order.
    package static func squaredNorm(_ tensors: [Tensor]) -> Double { Kernels.squaredNorm(tensors) }
}
