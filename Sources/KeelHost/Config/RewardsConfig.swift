import KeelCore

package struct RewardConfig: ConfigSection {
    @Key("plugin", .plugin, "The reward; this or `native`.") package var plugin: String? = nil

    @Key("native", "A C function that is the reward, instead of a plugin.")
    package var native: NativeConfig? = nil

    @Key("name", "The reward's name in metrics; null takes the plugin's.") package var name:
        String? = nil

    @Key("weight", "Its factor in the sum.") package var weight = 1.0

    @Key("params", "Its parameters (`keel plugin info` lists them).") package var params =
        JSONObject()

    @Key("normalize", "By running moments, before the clip: score / std, or (score - mean) / std.")
    package var normalize = NormalizeChoice.none

    @Key("clip", "(Normalised) scores are held between these two numbers before weighting.")
    package var clip: [Double]? = nil

    @Key("model", "The reward model whose scores the plugin reads (`model`).")
    package var model: RewardModelConfig? = nil

    @Key("judge", "The language model that answers the plugin's questions (`judge`).")
    package var judge: JudgeConfig? = nil

    @Key("run", "How the plugin is run.") package var run = RewardRunConfig()

    package init() {}

    /// The name that metrics and errors use.
    package var shownName: String {
        if let name { return name }
        guard let plugin else { return native?.symbol ?? "" }
        let file = Files.name(plugin)
        if let hash = file.lastIndex(of: "#") { return String(file[file.index(after: hash)...]) }
        var base = file.hasSuffix(".so") ? String(file.dropLast(3)) : file
        for prefix in ["libkeel-", "lib"] where base.hasPrefix(prefix) && base.count > prefix.count
        {
            base.removeFirst(prefix.count)
            break
        }
        return base
    }
}

package enum FailurePolicy: String, ConfigChoice {
    case stop
    case dropRow = "drop_row"
    case constant
}

package struct CombineConfig: ConfigSection {
    @Key(
        "rule",
        "sum: weighted sum of the scores. gated: the gate's score where it is low, else the sum of the others. "
            + "normalize_then_sum: each score normalised among the completions of its prompt, summed, normalised over the batch."
    )
    package var rule = CombineRule.sum

    @Key("gate", "gated: the name of the reward that takes over (safety); null takes the first.")
    package var gate: String? = nil

    @Key("threshold", "gated: the gate takes over below it.") package var threshold = 0.15

    @Key(
        "tag",
        "gated: where a data row may say by a true value that the gate decides (a safety prompt), a JSON pointer."
    )
    package var tag: String? = nil

    /// `tag`, where the rule looks for it.
    package var activeTag: String? { rule == .gated ? tag : nil }

    @Key(
        "transform",
        "What the combined reward becomes in training: logit, or logit whitened over the batch; null: none, gated logit_whiten."
    )
    package var transform: TransformChoice? = nil

    /// What `transform` comes to.
    package var effectiveTransform: TransformChoice {
        transform ?? (rule == .gated ? .logitWhiten : .none)
    }

    @Key("overlong", "Takes reward from completions near the length limit (DAPO).")
    package var overlong: OverlongConfig? = nil

    @Key(
        "stop_properly", .within(-1e6, 1),
        "Of a completion cut at the length limit: factor of its reward, or below 0 the reward itself."
    )
    package var stopProperly: Double? = nil

    @Key(
        "missing_eos_penalty", .from(0),
        "Taken from the reward of a completion cut at the length limit.")
    package var missingEOSPenalty = 0.0

    @Key("missing", "What to do with a row that no reward answers.") package var missing =
        FailurePolicy.stop

    @Key("constant", "The reward that missing \"constant\" gives.") package var constant = 0.0

    package init() {}
}

package enum CombineRule: String, ConfigChoice {
    case sum, gated
    case normalizeThenSum = "normalize_then_sum"
}

package enum TransformChoice: String, ConfigChoice {
    case none, logit
    case logitWhiten = "logit_whiten"
}

package enum NormalizeChoice: String, ConfigChoice { case none, scale, normalize }

package struct OverlongConfig: ConfigSection {
    @Key(
        "max_length", .number(from: 1),
        "Tokens that cost `factor`; null: data.max_completion_length.")
    package var maxLength: Int? = nil

    @Key("cache", .number(from: 0), "Tokens before max_length from which on the cost rises from 0.")
    package var cache = 64

    @Key("factor", .from(0), "The most that is taken.") package var factor = 1.0

    package init() {}
}

package struct RewardModelConfig: ConfigSection {
    @Key(
        "path", required: .folder,
        "A reward model's folder (*ForSequenceClassification, one label).")
    package var path: String

    @Key("dtype", "Type of its activations.") package var dtype = DTypeChoice.f32

    @Key(
        "max_length", .number(from: 1),
        "Tokens of prompt and response it sees, the last ones; null: its context.")
    package var maxLength: Int? = nil

    package init() {}
}

package struct JudgeConfig: ConfigSection {
    @Key("path", required: .folder, "A language model's folder.") package var path: String

    @Key("dtype", "Type of its activations.") package var dtype = DTypeChoice.f32

    @Key("max_new_tokens", .number(from: 1), "Tokens of a reply at most.") package
        var maxNewTokens = 64

    @Key("temperature", .from(0), "0: always the likeliest token.") package var temperature = 0.0

    @Key(
        "chat",
        "Whether the question is a user's message in the judge's chat template; null: where its folder has one."
    )
    package var chat: Bool? = nil

    @Key("stop", "Texts that end a reply; they do not belong to it.")
    package var stop: [String] = []

    package init() {}
}
