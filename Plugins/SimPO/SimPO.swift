import KeelPlugin

/// SimPO: the mean log-probability as reward, a margin, no reference.
///
/// Meng et al. 2024, arXiv:2405.14734, equation 6, z the mean log-probability of a response's tokens:
///
///     d = z_w - z_l - γ/β
///     L = -(1 - ε) log σ(β d) - ε log σ(-β d)
///
/// `loss_type` hinge is max(0, 1 - β d). `nll_coef` adds the likelihood of the chosen response (CPO-SimPO).
struct SimPO: Objective {
    static let name = "simpo"
    static let help = "SimPO: preference by the mean log-probability and a margin, no reference."
    static let needs: Needs = [.pairs, .meanLogprobs, .seqLogprobs]

    enum LossType: String, CaseIterable { case sigmoid, hinge }

    @Param("beta", 0.0..., "Scale of the rewards.")
    var beta = 2.0

    @Param("gamma_beta_ratio", 0.0..., "γ/β: the margin, in nats per token.")
    var gammaBetaRatio = 0.25

    @Param("label_smoothing", 0.0...0.5, "ε: probability that the label of a pair is wrong.")
    var labelSmoothing = 0.0

    @Param("loss_type", "sigmoid, or hinge.")
    var lossType = LossType.sigmoid

    @Param("nll_coef", 0.0..., "Weight of the likelihood of the chosen response.")
    var nllCoef = 0.0

    func loss(_ pairs: Pairs) -> Tensor {
        let (chosen, rejected) = (pairs.chosen.meanLogprobs, pairs.rejected.meanLogprobs)
        let z = beta * (chosen - rejected - gammaBetaRatio)  // [batch]

        pairs.metric("rewards/chosen", beta * chosen)
        pairs.metric("rewards/rejected", beta * rejected)
        pairs.metric("rewards/margins", beta * (chosen - rejected))
        pairs.metric("rewards/accuracies", chosen > rejected)
        pairs.metric("logps/chosen", pairs.chosen.seqLogprobs)
        pairs.metric("logps/rejected", pairs.rejected.seqLogprobs)

        let preference =
            switch lossType {
            case .sigmoid: -(1 - labelSmoothing) * logSigmoid(z) - labelSmoothing * logSigmoid(-z)
            case .hinge: relu(1 - z)
            }
        return nllCoef > 0 ? preference - nllCoef * chosen : preference
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? { plugin("keel.simpo", "1.0.0", SimPO.self) }
