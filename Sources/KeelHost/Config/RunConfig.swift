import Glibc
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

package struct DataConfig: ConfigSection {
    @Key("train", required: .file, "Training rows, JSONL.") package var train: String

    @Key("valid", .file, "Held-out rows, JSONL.") package var valid: String? = nil

    @Key(
        "ptx", .file,
        "Texts or prompts with completions that online training must not forget, JSONL.")
    package var ptx: String? = nil

    @Key(
        "type",
        "How rows are laid out: sharegpt (conversations), alpaca (instruction, input, output), keel; auto: as the fields of a row say."
    )
    package var type = DataTypeChoice.auto

    @Key(
        "train_on",
        "Of conversations: what the assistant says, its last turn, or all. all also trains the prompts of completions, with objectives for texts."
    )
    package var trainOn = TrainOnChoice.assistant

    @Key(
        "chat_template", .file,
        "A Jinja file that turns messages into text; null: that of the model's folder.")
    package var chatTemplate: String? = nil

    @Key("columns", "Renames: Keel's field name -> the field's name in the file.")
    package var columns = JSONObject()

    @Key(
        "reward_source",
        "Where an offline objective's rewards come from: the data's \"reward\" or \"rewards\", the configured reward plugins; auto: the data's where it has any."
    )
    package var rewardSource = RewardSourceChoice.auto

    @Key(
        "reward_transform",
        "What an offline objective makes of its rewards first: sigmoid turns a reward model's scores into numbers between 0 and 1."
    )
    package var rewardTransform = RewardTransformChoice.none

    @Key(
        "max_length", .from(2), "Most tokens of prompt and completion together; null for no limit.")
    package var maxLength: Int? = 1024

    @Key(
        "max_prompt_length", .from(1),
        "Most tokens of a prompt; null for no limit of its own.")
    package var maxPromptLength: Int? = nil

    @Key(
        "max_completion_length", .from(1),
        "Most tokens of a completion, in the data and when generating (null: 512)."
    )
    package var maxCompletionLength: Int? = nil

    @Key(
        "truncation_side",
        "Where a prompt is cut that is too long: left keeps its end (and BOS), right its start.")
    package var truncationSide = SideChoice.left

    @Key(
        "completion_truncation_side",
        "Where a completion of the data is cut that is too long: right keeps its start.")
    package var completionTruncationSide = SideChoice.right

    package init() {}
}

package enum DataTypeChoice: String, ConfigChoice { case auto, keel, sharegpt, alpaca }

package enum TrainOnChoice: String, ConfigChoice { case assistant, all, last }

package enum SideChoice: String, ConfigChoice { case left, right }

package enum RewardSourceChoice: String, ConfigChoice { case auto, data, plugins }

package enum RewardTransformChoice: String, ConfigChoice {
    case none, sigmoid

    /// What becomes of a reward; NaN stays NaN.
    func callAsFunction(_ reward: Double) -> Double {
        switch self {
        case .none: reward
        case .sigmoid: 1 / (1 + exp(-reward))
        }
    }
}

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
        "sum: weighted sum of the scores. gated: the gate's score where it is low, else the sum of the others."
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

    @Key(
        "transform",
        "What the combined reward becomes in training: logit, or logit whitened over the batch; null: none, gated logit_whiten."
    )
    package var transform: TransformChoice? = nil

    @Key("overlong", "Takes reward from completions near the length limit (DAPO).")
    package var overlong: OverlongConfig? = nil

    @Key(
        "stop_properly", .within(-1e6, 1),
        "Of a completion cut at the length limit: factor of its reward, or below 0 the reward itself."
    )
    package var stopProperly: Double? = nil

    @Key("missing", "What to do with a row that no reward answers.") package var missing =
        FailurePolicy.stop

    @Key("constant", "The reward that missing \"constant\" gives.") package var constant = 0.0

    package init() {}
}

package enum CombineRule: String, ConfigChoice { case sum, gated }

package enum TransformChoice: String, ConfigChoice {
    case none, logit
    case logitWhiten = "logit_whiten"
}

package enum NormalizeChoice: String, ConfigChoice { case none, scale, normalize }

package struct OverlongConfig: ConfigSection {
    @Key("max_length", .from(1), "Tokens that cost `factor`; null: data.max_completion_length.")
    package var maxLength: Int? = nil

    @Key("cache", .from(0), "Tokens before max_length from which on the cost rises from 0.")
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
        "max_length", .from(1),
        "Tokens of prompt and response it sees, the last ones; null: its context.")
    package var maxLength: Int? = nil

    package init() {}
}

package struct JudgeConfig: ConfigSection {
    @Key("path", required: .folder, "A language model's folder.") package var path: String

    @Key("dtype", "Type of its activations.") package var dtype = DTypeChoice.f32

    @Key("max_new_tokens", .from(1), "Tokens of a reply at most.") package var maxNewTokens = 64

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

package struct SamplerConfig: ConfigSection {
    @Key("plugin", .plugin, "The token sampler.") package var plugin = "nucleus"

    @Key("temperature", .above(0), "Divides the logits, in generation and in every log-prob.")
    package var temperature = 1.0

    @Key("params", "Its parameters (`keel plugin info` lists them).") package var params =
        JSONObject()

    @Key("stop", "Texts that end a completion; rewards see the text in front of them.")
    package var stop: [String] = []

    @Key("min_new_tokens", .from(0), "Tokens before which a completion does not end by itself.")
    package var minNewTokens = 0

    @Key("batch_size", .from(1), "Completions generated at once.") package var batchSize = 32

    @Key(
        "cache_tokens", .from(1),
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

package struct TrainConfig: ConfigSection {
    @Key("per_device_train_batch_size", .from(1), "Rows (pairs, completions) per micro-batch.")
    package var perDeviceTrainBatchSize = 8

    @Key("gradient_accumulation_steps", .from(1), "Micro-batches per optimizer step.")
    package var gradientAccumulationSteps = 1

    @Key("per_device_eval_batch_size", .from(1), "Rows per batch of evaluation.")
    package var perDeviceEvalBatchSize = 8

    @Key(
        "gradient_checkpointing",
        "Keeps the input of each layer alone and computes the rest again on the way back: less memory, about a third more time, the same bits."
    )
    package var gradientCheckpointing = false

    @Key("learning_rate", .from(0), "Peak learning rate.") package var learningRate = 1e-6

    @Key("weight_decay", .from(0), "AdamW's decay, on tensors of two or more dimensions.")
    package var weightDecay = 0.0

    @Key("adam_beta1", .within(0, 1), "Decay of the first moment.") package var adamBeta1 = 0.9

    @Key("adam_beta2", .within(0, 1), "Decay of the second moment.") package var adamBeta2 = 0.999

    @Key("adam_epsilon", .from(0), "Added to the root of the second moment.") package
        var adamEpsilon = 1e-8

    @Key("max_grad_norm", .from(0), "Gradients are scaled down to this norm; 0 leaves them.")
    package var maxGradNorm = 1.0

    @Key("max_steps", .from(-1), "Optimizer steps; -1 leaves the length to num_train_epochs.")
    package var maxSteps = -1

    @Key("num_train_epochs", .above(0), "Passes over the rows, where max_steps is -1.")
    package var numTrainEpochs = 3.0

    @Key("lr_scheduler_type", "How the learning rate goes on after the warm-up.")
    package var lrSchedulerType = ScheduleChoice.linear

    @Key("warmup_steps", .from(0), "Steps of linear warm-up; wins over warmup_ratio.")
    package var warmupSteps = 0

    @Key("warmup_ratio", .within(0, 1), "Warm-up as a share of all steps.") package
        var warmupRatio = 0.0

    @Key("logging_steps", .from(1), "Steps between two lines of metrics.") package
        var loggingSteps = 10

    @Key(
        "eval_steps", .from(1),
        "Steps between evaluations on data.valid; null evaluates at the end only.")
    package var evalSteps: Int? = nil

    @Key("save_steps", .from(0), "Steps between checkpoints; 0 writes one at the end only.")
    package var saveSteps = 500

    @Key("save_total_limit", .from(1), "Checkpoints kept, the oldest go first; null keeps all.")
    package var saveTotalLimit: Int? = nil

    @Key("seed", .from(0), "Fixes every random draw of the run.") package var seed = 42

    @Key("num_generations", .from(1), "Completions per prompt (online objectives).")
    package var numGenerations = 8

    @Key(
        "rollout_batch_size", .from(1),
        "Completions per rollout; null: those of one optimizer step.")
    package var rolloutBatchSize: Int? = nil

    @Key("num_iterations", .from(1), "Passes over each rollout.") package var numIterations = 1

    @Key(
        "dynamic_sampling",
        "Draws prompts until a roll-out is full of groups whose rewards differ (DAPO).")
    package var dynamicSampling = false

    @Key("max_gen_batches", .from(1), "Batches of prompts that dynamic_sampling draws at most.")
    package var maxGenBatches = 10

    @Key(
        "filter_reward",
        "The reward whose raw scores dynamic_sampling compares; null: the weighted sum.")
    package var filterReward: String? = nil

    @Key(
        "monitor_kl",
        "Measures the KL to the reference in every roll-out, where the objective does not need it.")
    package var monitorKL = false

    @Key(
        "sync_ref_model",
        "Lets the reference follow the policy: every ref_model_sync_steps, ref = (1 - alpha) ref + alpha policy."
    )
    package var syncRefModel = false

    @Key("ref_model_mixup_alpha", .within(0, 1), "The policy's weight in that; 1: a copy.")
    package var refModelMixupAlpha = 0.6

    @Key("ref_model_sync_steps", .from(1), "Optimizer steps between two such moves.")
    package var refModelSyncSteps = 512

    @Key(
        "ref_model_reset_kl", .above(0),
        "The reference becomes the policy after a roll-out whose KL per response passes this; null: never."
    )
    package var refModelResetKL: Double? = nil

    @Key("ptx_coef", .from(0), "Weight of the token mean of -log p over data.ptx in every step.")
    package var ptxCoef = 0.0

    @Key("ptx_batch_size", .from(1), "Rows of data.ptx per step; null: those of a micro-batch.")
    package var ptxBatchSize: Int? = nil

    @Key(
        "on_collapse",
        "When roll-outs look collapsed for collapse_patience times in a row: off, warn, or stop with a checkpoint."
    )
    package var onCollapse = CollapseChoice.warn

    @Key("collapse_patience", .from(1), "Roll-outs in a row that must look collapsed.")
    package var collapsePatience = 5

    @Key(
        "collapse_kl", .above(0), "Nats per token to the reference above which a roll-out looks so."
    )
    package var collapseKL = 1.0

    @Key(
        "collapse_clipped_ratio", .within(0, 1),
        "Share of completions cut at the length limit above which it does; 1: off.")
    package var collapseClippedRatio = 0.95

    @Key(
        "collapse_unique_ratio", .within(0, 1),
        "Share of different completions (of 16 or more) below which it does; 0: off.")
    package var collapseUniqueRatio = 0.1

    @Key(
        "watchdog_s", .from(0),
        "Seconds that a callback in the host's process may take (objective, token sampler, isolate none) before "
            + "the run stops with a checkpoint; 0 waits for ever.")
    package var watchdogSeconds = 300.0

    @Key("threads", .from(1), "CPU threads; null takes all cores. Results do not depend on it.")
    package var threads: Int? = nil

    package init() {}
}

package enum CollapseChoice: String, ConfigChoice { case off, warn, stop }

package enum ScheduleChoice: String, ConfigChoice {
    case linear, cosine, constant
    case constantWithWarmup = "constant_with_warmup"
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
