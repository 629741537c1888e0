import KeelPlugin

// Advantage-leftover Lunch RL: Baheti et al. 2024, arXiv:2305.14718. A whole response is one action, its reward R
// is known beforehand, and V is the value of the reference policy at the prompt:
//
//     A = R - V(x),   A⁺ = max(A, 0),   S = log πθ(y|x),   ρ = πθ(y|x) / π_ref(y|x)
//
// A, V, R, ρ and π_ref are constants: the gradient flows through the last log πθ of each formula only. Phases, filter
// and metrics are those of Advantages.swift.

/// Equation 2: the advantage and the clipped importance ratio of the whole response.
///
///     L = -A⁺ clip(ρ, 1 - ε, 1 + ε) log πθ(y|x)
///
/// The clip bounds a weight: a clipped row keeps its gradient, unlike PPO's.
struct ALOL: AdvantageObjective {
    static let name = "alol"
    static let help = "Advantage-leftover lunch RL: likelihood weighted by advantage and ratio."
    static let reads: Needs = [.scored, .seqLogprobs, .refSeqLogprobs, .rewards, .seqValues]

    @Param("clip_range", 0.0..., "Bounds of the ratio, 1 - c and 1 + c; 0: only capped at e^20.")
    var clipRange = 0.9
    let shared = AdvantageParameters()

    func policyLoss(_ rows: Rows, _ advantage: Tensor) -> Tensor {
        let ratio = ImportanceRatio(rows.seqLogprobs - rows.refSeqLogprobs, clip: clipRange)
        ratio.report(rows, "alol")
        return -advantage * ratio.value * rows.seqLogprobs  // [batch]
    }
}

/// Equation 4: the ratio of each token instead of the response's.
///
///     L = -A⁺ Σ_t clip(πθ(y_t) / π_ref(y_t), 1 - ε, 1 + ε) log πθ(y_t)
struct ALOLSeq: AdvantageObjective {
    static let name = "alol_seq"
    static let help = "A-LoL with the importance ratio of each token."
    static let reads: Needs = [.scored, .logprobs, .refLogprobs, .rewards, .seqValues]

    @Param("clip_range", 0.0..., "Bounds of the ratio, 1 - c and 1 + c; 0: only capped at e^20.")
    var clipRange = 0.9
    let shared = AdvantageParameters()

    func policyLoss(_ rows: Rows, _ advantage: Tensor) -> Tensor {
        let ratio = ImportanceRatio(rows.logprobs - rows.refLogprobs, clip: clipRange)
        ratio.report(rows, "alol")
        return -advantage.asColumn() * ratio.value * rows.logprobs  // [batch, time]
    }
}

/// Equation 3: the ratio taken as 1.
///
///     L = -A⁺ log πθ(y|x)
struct ALOLRefFree: AdvantageObjective {
    static let name = "alol_ref_free"
    static let help = "A-LoL without the importance ratio: likelihood weighted by advantage."
    static let reads: Needs = [.scored, .seqLogprobs, .rewards, .seqValues]

    let shared = AdvantageParameters()

    func policyLoss(_ rows: Rows, _ advantage: Tensor) -> Tensor {
        -advantage * rows.seqLogprobs  // [batch]
    }
}

/// The ratio replaced by a penalty on log πθ/π_ref of the data's responses.
///
///     L = -A⁺ log πθ(y|x) + β (log πθ(y|x) - log π_ref(y|x))
///
/// Equal to the weight A⁺ - β on the likelihood: rows with A⁺ < β are pushed down. The responses are not the policy's, so
/// the penalty is no estimate of a divergence and may be negative.
struct ALOLKL: AdvantageObjective {
    static let name = "alol_kl"
    static let help = "A-LoL with a penalty on the log-ratio instead of the ratio."
    static let reads: Needs = [.scored, .seqLogprobs, .refSeqLogprobs, .rewards, .seqValues]

    @Param("kl_coef", 0.0..., "Weight of the penalty; rows of a smaller advantage are pushed down.")
    var klCoef = 0.1
    let shared = AdvantageParameters()

    func policyLoss(_ rows: Rows, _ advantage: Tensor) -> Tensor {
        let logratio = rows.seqLogprobs - rows.refSeqLogprobs  // [batch]
        rows.metric("alol/kl_penalty", klCoef * logratio)
        return -advantage * rows.seqLogprobs + klCoef * logratio
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? {
    plugin(
        "keel.alol", "1.0.0", ALOL.self, ALOLSeq.self, ALOLRefFree.self, ALOLKL.self, RLOL.self,
        WBC.self, RGOLD.self)
}
