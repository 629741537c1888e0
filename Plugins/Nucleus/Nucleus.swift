import KeelPlugin

/// Sampling from an edited distribution: penalties and cuts in transformers' order, all off by default.
///
/// The host divides the logits by the temperature before and draws after. An importance-ratio objective wants
/// the whole distribution: leave the cuts off there.
struct Nucleus: TokenSampler {
    static let name = "nucleus"
    static let help = "Draws from the likeliest tokens: top-k, top-p, min-p, typical, penalties."

    @Param(
        "repetition_penalty", 0.01...100,
        "Divides positive logits of tokens already there, multiplies negative; 1: off.")
    var repetitionPenalty = 1.0

    @Param("no_repeat_ngram_size", 0..., "No n-gram of this many tokens appears twice; 0: off.")
    var noRepeatNGramSize = 0

    @Param("top_k", 0..., "Only the k likeliest tokens; 0: off.")
    var topK = 0

    @Param("top_p", 0.0...1, "The fewest tokens with this mass (Holtzman et al. 2020); 1: off.")
    var topP = 1.0

    @Param("min_p", 0.0...1, "Only tokens at least this likely, relative to the likeliest; 0: off.")
    var minP = 0.0

    @Param(
        "typical_p", 0.0...1,
        "Tokens of typical surprise with this mass (Meister et al. 2023); 1: off.")
    var typicalP = 1.0

    @Param(
        "epsilon_cutoff", 0.0...1,
        "Only tokens of at least this probability (Hewitt et al. 2022); 0: off.")
    var epsilonCutoff = 0.0

    @Param("eta_cutoff", 0.0...1, "The same, lower where the distribution is flat; 0: off.")
    var etaCutoff = 0.0

    func sample(_ logits: Logits) throws -> Int? {
        if repetitionPenalty != 1 { logits.penalizeRepetition(repetitionPenalty) }
        if noRepeatNGramSize > 0 { logits.banRepeatedNGrams(noRepeatNGramSize) }
        if topK > 0 { logits.keepTop(topK) }
        if topP < 1 { logits.keepNucleus(topP) }
        if minP > 0 { logits.dropBelowShare(minP) }
        if typicalP < 1 { logits.keepTypical(typicalP) }
        if epsilonCutoff > 0 { logits.dropBelow(epsilonCutoff) }
        if etaCutoff > 0 { logits.dropBelowEta(etaCutoff) }
        return nil  // the host draws from what is left
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? { plugin("keel.nucleus", "1.0.0", Nucleus.self) }
