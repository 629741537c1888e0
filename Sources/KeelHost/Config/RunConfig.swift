import KeelCore

/// All that a run is told, as its config file says it: typed, with defaults filled in and absolute paths.
///
/// Every key is declared once, in these sections, with its type, range, default and help. Defaults are
/// those of TRL 1.16 and transformers 5.23 where those tools have the key.
package struct RunConfig: ConfigSection {
    @Key("model", "The model to train.") package var model = PolicyConfig()

    @Key("reference", "The frozen model that objectives compare with.")
    package var reference = ReferenceConfig.initial

    @Key("data", "The rows to train and to evaluate on.") package var data = DataConfig()

    @Key("objective", "What is optimised.") package var objective = ObjectiveConfig()

    @Key("rewards", "What scores completions; their weighted sum is the reward.")
    package var rewards: [RewardConfig] = []

    @Key("combine", "How the rewards become one number.") package var combine = CombineConfig()

    @Key("sampler", "How tokens are drawn while generating.") package var sampler = SamplerConfig()

    @Key("order", "In which order rows are met.") package var order = OrderConfig()

    @Key("critic", "The model that estimates values, for objectives that train one.")
    package var critic = CriticConfig()

    @Key("value_head", "The value head, for objectives that train one.")
    package var valueHead = ValueHeadConfig()

    @Key("reward_head", "The score head on the policy, for objectives that train a reward model.")
    package var rewardHead = RewardHeadConfig()

    @Key("old_policy", "The slow copy of the policy, for offline objectives that read one (gold).")
    package var oldPolicy = OldPolicyConfig()

    @Key("phases", "Rates and lengths of the phases, for objectives with several.")
    package var phases = PhasesConfig()

    @Key("train", "Batches, optimizer, schedule, logging, saving.") package var train =
        TrainConfig()

    @Key("output_dir", required: .output, "The folder that the run writes.") package var outputDir:
        String

    /// Where each key stands in the file, for errors found later.
    package var places = ConfigPlaces()

    package init() {}
}

package struct PolicyConfig: ConfigSection {
    @Key("path", required: .folder, "A Hugging Face model folder.") package var path: String

    @Key("dtype", "Type of activations and of the weights they meet; masters and moments are f32.")
    package var dtype = DTypeChoice.f32

    @Key("lora", "Trains updates of low rank and leaves the model as it is; PEFT's names.")
    package var lora: LoRASection? = nil

    @Key("adapter", .folder, "A PEFT folder to go on from; its own config says what is trained.")
    package var adapter: String? = nil

    package init() {}
}

package enum DTypeChoice: String, ConfigChoice { case f32, bf16 }

package struct ObjectiveConfig: ConfigSection {
    @Key("plugin", required: .plugin, "The objective.") package var plugin: String

    @Key("params", "Its parameters (`keel plugin info` lists them).") package var params =
        JSONObject()

    @Key("reduction", "How losses become one; null takes the objective's own.")
    package var reduction: ReductionChoice? = nil

    @Key("reduction_constant", .above(0), "What \"constant\" divides the sum of losses by.")
    package var reductionConstant = 1.0

    package init() {}
}

package enum ReductionChoice: String, ConfigChoice {
    case rowMean = "row_mean"
    case tokenMean = "token_mean"
    case rowMeanOfTokenMean = "row_mean_of_token_mean"
    case constant
}

package struct SamplerConfig: ConfigSection {
    @Key("plugin", .plugin, "The token sampler.") package var plugin = "nucleus"

    @Key("temperature", .above(0), "Divides the logits, in generation and in every log-prob.")
    package var temperature = 1.0

    @Key("params", "Its parameters (`keel plugin info` lists them).") package var params =
        JSONObject()

    @Key("stop", "Texts that end a completion; rewards see the text in front of them.")
    package var stop: [String] = []

    @Key(
        "min_new_tokens", .number(from: 0),
        "Tokens before which a completion does not end by itself.")
    package var minNewTokens = 0

    @Key("batch_size", .batch, "Completions generated at once.") package var batchSize = 32

    @Key(
        "cache_tokens", .number(from: 1),
        "Tokens whose keys and values are kept at once; null: as many as batch_size completions need. "
            + "Results do not depend on it.")
    package var cacheTokens: Int? = nil

    package init() {}
}

package struct OrderConfig: ConfigSection {
    @Key("plugin", .plugin, "The data sampler.") package var plugin = "shuffle"

    @Key("params", "Its parameters (`keel plugin info` lists them).") package var params =
        JSONObject()

    @Key("run", "How the plugin is run.") package var run = OrderRunConfig()

    package init() {}
}

/// The frozen model: the policy before its first step, none, or a folder.
package enum ReferenceConfig: ConfigValue, Equatable {
    case initial
    case none
    case path(String, cache: Bool)

    /// The object form.
    struct Model: ConfigSection {
        @Key("path", required: .folder, "A Hugging Face model folder.") var path: String
        @Key("cache", "auto: reference columns are kept on disk, by content.") var cache = Cache
            .auto
        init() {}
    }

    enum Cache: String, ConfigChoice { case auto, off }

    package static func read(
        _ value: JSON, _ spec: KeySpec, _ path: String, _ reader: ConfigReader
    ) -> ReferenceConfig? {
        switch value {
        case .string("initial"): return .initial
        case .string("none"): return ReferenceConfig.none
        case .object:
            return Model.read(value, spec, path, reader).map {
                .path($0.path, cache: $0.cache == .auto)
            }
        case .string(let text):
            reader.report(
                "\(reader.shown(path)) is \"\(text)\"; it takes \(typeName(spec))", at: path,
                fix: "to use a model, write {\"path\": \"\(text)\"}")
            return nil
        default:
            reader.wrongType(value, typeName(spec), path)
            return nil
        }
    }

    package var json: JSON {
        switch self {
        case .initial: "initial"
        case .none: "none"
        case .path(let path, let cache): ["path": .string(path), "cache": cache ? "auto" : "off"]
        }
    }

    package static func schema(_ spec: KeySpec) -> JSONObject {
        ["anyOf": [["enum": ["initial", "none"]], .object(Model.schema(spec))]]
    }

    package static func typeName(_ spec: KeySpec) -> String {
        "\"initial\", \"none\" or {\"path\": ..., \"cache\": \"auto\" or \"off\"}"
    }
}
