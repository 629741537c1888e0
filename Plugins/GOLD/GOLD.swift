import KeelPlugin

/// GOLD: off-policy learning from demonstrations, token by token.
///
/// Pang & He 2021, "Text Generation by Learning from Demonstrations", arXiv:2009.07839, algorithm 1:
///
///     L = -Σ_t w_t Q_t log πθ(y_t),   w_t = max(u, π_old(y_t))
///     Q_t = Σ_{k=0..K} γ^k max(c, q_{t+k})
///     q_t = 1                               delta: every demonstration has the return 1, Q_t = 1
///         = p_mle(y_t)                      s
///         = log(p_mle(y_t) + 1e-10) - b     p
///
/// π_old is a copy of the policy that follows it slowly (`old_logprobs`), p_mle the model that the run starts from
/// (`ref_logprobs`). w and Q are constants. Behind the end of a response q is that of a sure token: 1, or -b. The authors'
/// code bounds each term by c, their paper the whole return (`floor_scope`). Not TRL's distillation method of the same name.
struct GOLD: Objective {
    static let name = "gold"
    static let help = "GOLD (Pang & He): demonstrations weighted by probability and likely future."
    static let needs: Needs = [.text, .logprobs, .oldLogprobs, .mask]
    static let reduction = Reduction.tokenMean

    enum Variant: String, CaseIterable {
        /// Q_t = 1.
        case delta
        /// Returns are sums of probabilities.
        case s
        /// Returns are products of probabilities.
        case p
    }

    enum FloorScope: String, CaseIterable { case term, `return` }

    @Param("variant", "The return of a token: delta (1), s (probabilities), p (log-probabilities).")
    var variant = Variant.s

    @Param("iw_min", 0.0...1.0, "u: floor of the probability that weighs a token.")
    var iwMin = 0.1

    @Param("trunc_min", "c: floor of the return; 0 for s, 1 for p in the paper.")
    var truncMin = 0.0

    @Param("q_baseline", "b: taken from the log-probabilities of p.")
    var qBaseline = -10.0

    @Param("gamma", 0.0...1.0, "Discount of later tokens.")
    var gamma = 1.0

    @Param("suffix_num", 0...256, "K: tokens after this one that a return looks at.")
    var suffixNum = 5

    @Param("floor_scope", "What trunc_min bounds: each term of a return (the code), or the return.")
    var floorScope = FloorScope.term

    @Param("label_smoothing", 0.0...1.0, "Share of a uniform target over the vocabulary.")
    var labelSmoothing = 0.0

    func setup(_ call: Call) throws {
        if variant != .delta { call.need("ref_logprobs") }
        if labelSmoothing > 0 { call.need("vocab_logprobs") }
    }

    func loss(_ rows: Rows) -> Tensor {
        let weight = exp(rows.oldLogprobs).clamped(iwMin, .infinity)  // [batch, time]
        let nll = -rows.logprobs
        rows.metric("nll_loss", nll)
        rows.metric("gold/weight_mean", weight)
        rows.metric("gold/weight_floor_fraction", exp(rows.oldLogprobs) < iwMin)

        var loss = weight * nll
        if variant != .delta {
            let returns = returns(rows)
            rows.metric("gold/return_mean", returns)
            loss = returns * loss
        }
        guard labelSmoothing > 0 else { return loss }
        // Not weighted, as in the authors' code: the cross entropy with a uniform target.
        return (1 - labelSmoothing) * loss - labelSmoothing * rows.vocabLogprobs
    }

    /// Q_t, `[batch, time]`.
    private func returns(_ rows: Rows) -> Tensor {
        let isP = variant == .p
        let likely = exp(rows.refLogprobs)
        let reward = isP ? (likely + 1e-10).log() - qBaseline : likely  // q_t
        let sure = isP ? -qBaseline : 1  // of what would follow the end
        let inside = select(rows.mask, reward, 0 * rows.mask + sure)
        let terms = floorScope == .term ? inside.clamped(truncMin, .infinity) : inside
        let end = floorScope == .term ? Swift.max(sure, truncMin) : sure

        guard let time = terms.shape?.last, time > 0 else { return terms }
        var sum = terms
        var factor = 1.0
        for k in stride(from: 1, through: suffixNum, by: 1) {
            factor *= gamma
            let after = Swift.min(k, time)
            let tail = 0 * terms.slice(axis: 1, 0, after) + end  // behind the end of the tensor
            sum =
                sum + factor * terms.slice(axis: 1, after, time).concatenated(with: [tail], axis: 1)
        }
        return floorScope == .term ? sum : sum.clamped(truncMin, .infinity)
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? { plugin("keel.gold", "1.0.0", GOLD.self) }
