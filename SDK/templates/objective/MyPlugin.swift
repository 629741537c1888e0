import KeelPlugin

/// Direct preference optimisation as a start (arXiv:2305.18290, equation 7).
///
///     L = -log σ(β (d_chosen - d_rejected)),   d = log π(y|x) - log π_ref(y|x)
///
/// Gives one loss per pair; the host divides by the number of pairs of the whole optimizer step.
struct MyPlugin: Objective {
    static let name = "my_plugin"
    static let help = "Prefers the chosen answer of each pair."
    static let needs: Needs = [.pairs, .seqLogprobs, .refSeqLogprobs]

    @Param("beta", 0.0...100, "Strength of the pull to the reference.")
    var beta = 0.1

    func loss(_ pairs: Pairs) -> Tensor {
        let chosen = pairs.chosen.seqLogprobs - pairs.chosen.refSeqLogprobs
        let rejected = pairs.rejected.seqLogprobs - pairs.rejected.refSeqLogprobs
        let margin = beta * (chosen - rejected)  // [batch]
        pairs.metric("rewards/margins", margin)
        pairs.metric("rewards/accuracies", margin > 0)
        return -logSigmoid(margin)
    }
}

/// What the host calls first.
@c(keel_plugin_v1) public func entry() -> Entry {
    plugin("org.example.my_plugin", "0.1.0", MyPlugin.self)
}
