import KeelCore

package struct TrainConfig: ConfigSection {
    @Key("per_device_train_batch_size", .batch, "Rows (pairs, completions) per micro-batch.")
    package var perDeviceTrainBatchSize = 8

    @Key("gradient_accumulation_steps", .count, "Micro-batches per optimizer step.")
    package var gradientAccumulationSteps = 1

    @Key("per_device_eval_batch_size", .batch, "Rows per batch of evaluation.")
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

    @Key(
        "max_steps", .number(from: -1), "Optimizer steps; -1 leaves the length to num_train_epochs."
    )
    package var maxSteps = -1

    @Key("num_train_epochs", .epochs, "Passes over the rows, where max_steps is -1.")
    package var numTrainEpochs = 3.0

    @Key("lr_scheduler_type", "How the learning rate goes on after the warm-up.")
    package var lrSchedulerType = ScheduleChoice.linear

    @Key("warmup_steps", .number(from: 0), "Steps of linear warm-up; wins over warmup_ratio.")
    package var warmupSteps = 0

    @Key("warmup_ratio", .within(0, 1), "Warm-up as a share of all steps.") package
        var warmupRatio = 0.0

    @Key("logging_steps", .number(from: 1), "Steps between two lines of metrics.") package
        var loggingSteps = 10

    @Key(
        "eval_steps", .number(from: 1),
        "Steps between evaluations on data.valid; null evaluates at the end only.")
    package var evalSteps: Int? = nil

    @Key(
        "eval_generations",
        "Offline: the policy answers the prompts of data.valid at every evaluation, and the rewards judge (eval_reward, eval_rewards/NAME/mean, lengths, distinct-n)."
    )
    package var evalGenerations = false

    @Key("eval_on_start", "An evaluation before the first step, too.")
    package var evalOnStart = false

    @Key(
        "load_best_model_at_end",
        "The result of the run is the policy of its best evaluation, which is kept in the folder best."
    )
    package var loadBestModelAtEnd = false

    @Key(
        "metric_for_best_model",
        "The number of an evaluation that says which is best; null: eval_reward where the policy answers, else eval_loss."
    )
    package var metricForBestModel: String? = nil

    @Key("greater_is_better", "Whether more of it is better; null: unless its name ends with loss.")
    package var greaterIsBetter: Bool? = nil

    @Key("save_steps", .number(from: 0), "Steps between checkpoints; 0 writes one at the end only.")
    package var saveSteps = 500

    @Key(
        "save_total_limit", .number(from: 1),
        "Checkpoints kept, the oldest go first; null keeps all.")
    package var saveTotalLimit: Int? = nil

    @Key("seed", .from(0), "Fixes every random draw of the run.") package var seed = 42

    @Key("num_generations", .count, "Completions per prompt (online objectives).")
    package var numGenerations = 8

    @Key(
        "rollout_batch_size", .count,
        "Completions per rollout; null: those of one optimizer step.")
    package var rolloutBatchSize: Int? = nil

    @Key("num_iterations", .within(1, 1000), "Passes over each rollout.") package
        var numIterations = 1

    @Key(
        "dynamic_sampling",
        "Draws prompts until a roll-out is full of groups whose rewards differ (DAPO).")
    package var dynamicSampling = false

    @Key(
        "max_gen_batches", .number(from: 1),
        "Batches of prompts that dynamic_sampling draws at most.")
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

    @Key("ref_model_sync_steps", .number(from: 1), "Optimizer steps between two such moves.")
    package var refModelSyncSteps = 512

    @Key(
        "ref_model_reset_kl", .above(0),
        "The reference becomes the policy after a roll-out whose KL per response passes this; null: never."
    )
    package var refModelResetKL: Double? = nil

    @Key(
        "ref_model_update_threshold", .from(0),
        "Offline: the policy becomes the reference after an evaluation whose answers are better by more than this than "
            + "the reference's own (A-LoL); null: never.")
    package var refModelUpdateThreshold: Double? = nil

    @Key("ptx_coef", .from(0), "Weight of the token mean of -log p over data.ptx in every step.")
    package var ptxCoef = 0.0

    @Key("ptx_batch_size", .batch, "Rows of data.ptx per step; null: those of a micro-batch.")
    package var ptxBatchSize: Int? = nil

    @Key(
        "on_collapse",
        "When roll-outs look collapsed for collapse_patience times in a row: off, warn, or stop with a checkpoint."
    )
    package var onCollapse = CollapseChoice.warn

    @Key("collapse_patience", .number(from: 1), "Roll-outs in a row that must look collapsed.")
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

    @Key(
        "threads", .within(1, 4096),
        "CPU threads; null takes all cores. Results do not depend on it.")
    package var threads: Int? = nil

    package init() {}
}

package enum CollapseChoice: String, ConfigChoice { case off, warn, stop }

package enum ScheduleChoice: String, ConfigChoice {
    case linear, cosine, constant
    case constantWithWarmup = "constant_with_warmup"
}
