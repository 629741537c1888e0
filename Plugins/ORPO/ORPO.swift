import KeelPlugin

/// Odds ratio preference optimization: likelihood and preference in one step, without a reference.
///
/// Hong et al. 2024, arXiv:2403.07691, equations 6 and 7, z the mean log-probability of a response's tokens:
///
///     log odds(y) = z - log(1 - e^z)
///     L = -z_w - β log σ(log odds(y_w) - log odds(y_l))
///
/// β is the paper's λ. The likelihood is that of the response (`nll_coef`); the authors' code and TRL take prompt and
/// response. log(1 - e^z) is exact near z = 0, where the released code loses everything.
struct ORPO: Objective {
    static let name = "orpo"
    static let help = "Odds ratio preference optimization: likelihood and preference at once."
    static let needs: Needs = [.pairs, .meanLogprobs, .seqLogprobs]

    @Param("beta", 0.0..., "λ of the paper: weight of the odds ratio.")
    var beta = 0.1

    @Param("nll_coef", 0.0..., "Weight of the likelihood of the chosen response.")
    var nllCoef = 1.0

    func loss(_ pairs: Pairs) -> Tensor {
        let (chosen, rejected) = (pairs.chosen.meanLogprobs, pairs.rejected.meanLogprobs)
        let logOdds = logOdds(chosen) - logOdds(rejected)  // [batch]
        let preference = logSigmoid(logOdds)

        pairs.metric("nll_loss", -chosen)
        pairs.metric("log_odds_ratio", preference)
        pairs.metric("log_odds_chosen", logOdds)
        pairs.metric("rewards/chosen", beta * chosen)
        pairs.metric("rewards/rejected", beta * rejected)
        pairs.metric("rewards/margins", beta * (chosen - rejected))
        pairs.metric("rewards/accuracies", chosen > rejected)
        pairs.metric("logps/chosen", pairs.chosen.seqLogprobs)
        pairs.metric("logps/rejected", pairs.rejected.seqLogprobs)
        let odds = -beta * preference
        return nllCoef > 0 ? odds - nllCoef * chosen : odds
    }

    /// log p - log(1 - p); a response of probability 1 counts as one of 1 - 1e-7.
    private func logOdds(_ z: Tensor) -> Tensor {
        let z = z.clamped(-.infinity, -1e-7)
        return z - z.log1mexp()
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? { plugin("keel.orpo", "1.0.0", ORPO.self) }
