import KeelPlugin

/// Direct Preference Optimization and the losses that grew from it.
///
/// Rafailov et al. 2023, equation 7, arXiv:2305.18290:
///
///     L = -E log σ(β [ log πθ(y_w|x)/π_ref(y_w|x) - log πθ(y_l|x)/π_ref(y_l|x) ])
///
/// `loss_type` chooses another function of the two log-ratios (DPOLosses.swift). The reference is a constant;
/// both responses receive gradient. Rewards are reported against the reference, whatever the loss reads.
struct DPO: Objective {
    static let name = "dpo"
    static let help =
        "Direct preference optimization: sigmoid, robust, IPO, hinge and further losses of a pair."
    static let needs: Needs = [.pairs, .seqLogprobs, .refSeqLogprobs, .mask]

    @Param("beta", 0.0..., "Strength of the pull towards the reference policy.")
    var beta = 0.1

    @Param("loss_type", "The loss of a pair; several joined by + are added with loss_weights.")
    var lossType = "sigmoid"

    @Param("loss_weights", "One weight for each loss of loss_type; empty: all 1.")
    var lossWeights: [Double] = []

    @Param(
        "label_smoothing", 0.0...0.5,
        "Probability that the label of a pair is wrong (cDPO, robust, exo_pair).")
    var labelSmoothing = 0.0

    @Param("length_normalized", "Log-ratios per token instead of per response; null: only for ipo.")
    var lengthNormalized: Bool? = nil

    @Param("reference_free", "Leaves the reference out of the loss.")
    var referenceFree = false

    @Param(
        "ld_alpha", 0.0...1.0,
        "Weight of the tokens beyond the shorter response's length; 0: off (LD-DPO).")
    var ldAlpha = 0.0

    @Param("f_divergence", "The divergence from the reference that the implied reward belongs to.")
    var fDivergence = FDivergence.reverseKL

    var losses: [PairLoss] = [.sigmoid]

    mutating func setup(_ call: Call) throws {
        losses = try lossType.split(separator: "+").map { name in
            guard let loss = PairLoss(rawValue: String(name)) else {
                let known = PairLoss.allCases.map(\.rawValue).joined(separator: ", ")
                throw PluginError(.invalid, "loss_type \"\(name)\" is not one of \(known)")
            }
            return loss
        }
        guard !losses.isEmpty, lossWeights.isEmpty || lossWeights.count == losses.count else {
            throw PluginError(
                .invalid, "\(lossWeights.count) loss_weights for loss_type \"\(lossType)\"")
        }
        if losses.contains(.robust), labelSmoothing >= 0.5 {
            throw PluginError(
                .invalid, "loss_type robust divides by 1 - 2 label_smoothing: below 0.5, please")
        }
        if losses.contains(.exoPair), labelSmoothing <= 0 {
            throw PluginError(.invalid, "loss_type exo_pair needs label_smoothing above 0")
        }
        if ldAlpha > 0 {
            for side in ["chosen.", "rejected."] {
                ["logprobs", "ref_logprobs"].forEach { call.need(side + $0) }
            }
        }
    }

    func loss(_ pairs: Pairs) -> Tensor {
        let chosen = side(pairs.chosen, other: pairs.rejected)
        let rejected = side(pairs.rejected, other: pairs.chosen)
        report(pairs, chosen, rejected)

        let terms = zip(losses, lossWeights.isEmpty ? losses.map { _ in 1 } : lossWeights).map {
            loss, weight in
            let perToken = lengthNormalized ?? (loss == .ipo)
            let pair = PairScores(
                beta: beta, smoothing: labelSmoothing, chosen: score(chosen, perToken: perToken),
                rejected: score(rejected, perToken: perToken), sides: (chosen, rejected))
            return weight == 1 ? pair.loss(loss) : weight * pair.loss(loss)
        }
        return terms.dropFirst().reduce(terms[0], +)  // one loss per pair; the host reduces
    }

    /// What the loss needs of one response: its log-prob under policy and reference, and its length.
    private func side(_ rows: Rows, other: Rows) -> Side {
        let length = rows.mask.sum(axis: -1)  // [batch]
        guard ldAlpha > 0 else {
            return Side(policy: rows.seqLogprobs, ref: rows.refSeqLogprobs, length: length)
        }
        // Liu et al. 2024, "Length Desensitization in DPO": tokens beyond the shorter response count alpha.
        let shared = min(length, other.mask.sum(axis: -1)).asColumn()
        let beyond = rows.mask.cumulativeSum() - shared > 0  // [batch, time]
        let weights = 1 - (1 - ldAlpha) * beyond
        return Side(
            policy: maskedSum(rows.logprobs * weights, rows.mask),
            ref: maskedSum(rows.refLogprobs * weights, rows.mask),
            length: length)
    }

    /// The log-ratio that the loss reads, after normalisation and f-divergence.
    private func score(_ side: Side, perToken: Bool) -> Tensor {
        var logratio = referenceFree ? side.policy : side.policy - side.ref
        if perToken { logratio = logratio / side.length.clamped(1, .infinity) }
        return fDivergence.score(logratio)
    }

    private func report(_ pairs: Pairs, _ chosen: Side, _ rejected: Side) {
        let good = beta * (chosen.policy - chosen.ref)
        let bad = beta * (rejected.policy - rejected.ref)
        pairs.metric("rewards/chosen", good)
        pairs.metric("rewards/rejected", bad)
        pairs.metric("rewards/margins", good - bad)
        pairs.metric("rewards/accuracies", good > bad)
        pairs.metric("logps/chosen", chosen.policy)
        pairs.metric("logps/rejected", rejected.policy)
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? { plugin("keel.dpo", "1.0.0", DPO.self) }
