import KeelPlugin

/// Supervised fine-tuning: the negative log-likelihood of the response's tokens.
///
///     nll:  L = -log π(y_t | x, y_<t)
///     dft:  L = -sg[π(y_t | x, y_<t)] log π(y_t | x, y_<t)
///
/// The host takes the mean over all trained tokens of the step (`token_mean`); `row_mean` gives the sum
/// per response, as the DPO authors' code has it. dft is Wu et al. 2025, "On the Generalization of SFT",
/// arXiv:2508.05629; sg = a constant, so that rare tokens count less.
struct SFT: Objective {
    static let name = "sft"
    static let help = "Supervised fine-tuning: negative log-likelihood of the responses."
    static let needs: Needs = [.text, .logprobs]
    static let reduction = Reduction.tokenMean

    enum LossType: String, CaseIterable { case nll, dft }

    @Param("loss_type", "nll, or dft: each token weighted by its own probability.")
    var lossType = LossType.nll

    func loss(_ rows: Rows) -> Tensor {
        let nll = -rows.logprobs  // [batch, time]
        rows.metric("nll_loss", nll)
        switch lossType {
        case .nll: return nll
        case .dft: return exp(rows.logprobs).detached() * nll
        }
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? { plugin("keel.sft", "1.0.0", SFT.self) }
