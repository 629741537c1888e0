import KeelCore

/// Names that other tools use for what Keel has: accepted, with a note.
///
/// The only such table.
package enum ConfigAliases {
    /// Section (`""` is the top level) -> alias -> Keel's name.
    static let keys: [String: [String: String]] = [
        "model": [
            "model_name_or_path": "path", "base_model": "path", "torch_dtype": "dtype",
        ],
        "data": [
            "train_file": "train", "validation": "valid", "validation_file": "valid",
            "eval": "valid",
            "max_seq_length": "max_length", "cutoff_len": "max_length",
            "max_new_tokens": "max_completion_length", "response_length": "max_completion_length",
        ],
        "train": [
            "batch_size": "per_device_train_batch_size",
            "micro_batch_size": "per_device_train_batch_size",
            "eval_batch_size": "per_device_eval_batch_size", "lr": "learning_rate",
            "gradient_accumulation": "gradient_accumulation_steps", "max_norm": "max_grad_norm",
            "activation_checkpointing": "gradient_checkpointing",
            "grad_checkpoint": "gradient_checkpointing", "lr_scheduler": "lr_scheduler_type",
            "steps": "max_steps", "iters": "max_steps",
            "epochs": "num_train_epochs", "num_epochs": "num_train_epochs",
            "save_every": "save_steps",
            "steps_per_eval": "eval_steps", "group_size": "num_generations",
            "baseline_update_threshold": "ref_model_update_threshold",
            "num_ppo_epochs": "num_iterations", "generation_batch_size": "rollout_batch_size",
        ],
        "sampler": ["temp": "temperature"],
    ]

    /// Parameters of plugins.
    static let parameters: [String: String] = [
        "cliprange": "clip_range", "cliprange_value": "clip_range_value", "lmbda": "lam",
        "gae_lambda": "lam", "pref_beta": "beta", "rl_beta": "beta", "init_kl_coef": "kl_coef",
        "cliprange_reward": "reward_clip", "entropy_coef": "ent_coef", "value_coef": "vf_coef",
    ]

    /// Objectives by the names of LoL-RL's scripts and of losses that are a setting here.
    static let objectives: [String: String] = [
        "a_lol": "alol", "a_lol_seq": "alol_seq", "a_lol_ref_free": "alol_ref_free",
        "a_lol_kl": "alol_kl", "r_lol": "rlol", "r_gold": "rgold", "nll": "sft",
    ]

    /// A plugin's parameters under the names that the plugin knows.
    ///
    /// An alias is only read as one when the plugin does not declare it and does declare Keel's name.
    ///
    /// - Parameters:
    ///   - known: the names that the plugin declares.
    ///   - note: told of every renaming, as (alias, name).
    package static func parameters(
        _ given: JSONObject, known: [String], note: (String, String) -> Void = { _, _ in }
    ) -> JSONObject {
        JSONObject(
            pairs: given.map { key, value in
                guard !known.contains(key), let name = parameters[key], known.contains(name),
                    given[name] == nil
                else { return (key, value) }
                note(key, name)
                return (name, value)
            })
    }
}
