import KeelCore
import OrderedCollections

/// `critic`: the model that estimates values for objectives that ask for one.
package struct CriticConfig: ConfigSection {
    @Key(
        "kind",
        "model: a model of its own; value_head: a linear head on the policy's own states.")
    package var kind = CriticChoice.model

    @Key(
        "path", .folder,
        "The model folder it starts from; null: that of the first model reward, else the policy's. "
            + "A language model gets a new head that gives 0.")
    package var path: String? = nil

    @Key("learning_rate", .from(0), "Its peak learning rate; null: train.learning_rate.")
    package var learningRate: Double? = nil

    @Key("max_grad_norm", .from(0), "Its gradient's norm; null: train.max_grad_norm.")
    package var maxGradNorm: Double? = nil

    package init() {}
}

package enum CriticChoice: String, ConfigChoice {
    case model
    case valueHead = "value_head"
}

/// `value_head`: the small network on a model's states.
package struct ValueHeadConfig: ConfigSection {
    @Key(
        "kind",
        "linear: on each state; attention_pool, mlp_pool: one value per prompt; null: what the objective names."
    )
    package var kind: ValueHeadChoice? = nil

    @Key("heads", .batch, "Attention heads of attention_pool.") package var heads = 8

    @Key("dropout", .within(0, 0.95), "Share of a pool's cells that training sets to 0.")
    package var dropout = 0.1

    @Key(
        "max_value", .above(0),
        "Values become this times a sigmoid; null: 1 for the pools, no bound for linear.")
    package var maxValue: Double? = nil

    @Key(
        "source",
        "What a value of prompts is fitted to. rollouts: rewards of the reference's own responses to the prompts of data.valid; "
            + "data: rewards of the rows of data.valid, else of data.train; prompt_mean: no head, the mean reward of a prompt's rows; "
            + "null: the rows' seq_values where they have any, rollouts where rewards and data.valid are given, else data."
    )
    package var source: ValueSourceChoice? = nil

    @Key("num_rollouts", .count, "source rollouts: responses to each prompt.")
    package var rollouts = 1

    @Key("learning_rate", .from(0), "Its peak learning rate; null: train.learning_rate.")
    package var learningRate: Double? = nil

    @Key("max_grad_norm", .from(0), "Its gradient's norm; null: train.max_grad_norm.")
    package var maxGradNorm: Double? = nil

    package init() {}
}

package enum ValueSourceChoice: String, ConfigChoice {
    case rollouts
    case data
    case promptMean = "prompt_mean"
}

/// `old_policy`: the copy of the policy that follows it slowly.
package struct OldPolicyConfig: ConfigSection {
    @Key(
        "sync_steps", .number(from: 0),
        "Optimizer steps after which it takes over the weights; 0: never.")
    package var syncSteps = 5000

    @Key("sync_epochs", "Whether it takes them over where an epoch begins, too.")
    package var syncEpochs = true

    package init() {}
}

package enum ValueHeadChoice: String, ConfigChoice {
    case linear
    case attentionPool = "attention_pool"
    case mlpPool = "mlp_pool"
}

/// `reward_head`: the score head on the policy's states.
package struct RewardHeadConfig: ConfigSection {
    @Key("learning_rate", .from(0), "Its peak learning rate; null: train.learning_rate.")
    package var learningRate: Double? = nil

    @Key("max_grad_norm", .from(0), "Its gradient's norm; null: train.max_grad_norm.")
    package var maxGradNorm: Double? = nil

    package init() {}
}

/// One phase of an objective that has several.
package struct PhaseConfig: ConfigSection {
    @Key(
        "learning_rate", .from(0),
        "Peak learning rate of all that the phase trains; null: those of train, critic, value_head, reward_head."
    )
    package var learningRate: Double? = nil

    @Key(
        "max_steps", .number(from: 0),
        "Its optimizer steps; 0 leaves it out; null: see num_train_epochs.")
    package var maxSteps: Int? = nil

    @Key(
        "num_train_epochs", .epochs,
        "Its passes over the rows; null: what the objective says, else the length of train.")
    package var numTrainEpochs: Double? = nil

    package init() {}
}

/// `phases`: settings by phase name.
package struct PhasesConfig: ConfigValue {
    package var byName: OrderedDictionary<String, PhaseConfig> = [:]

    package init() {}

    package static func read(
        _ value: JSON, _ spec: KeySpec, _ path: String, _ reader: ConfigReader
    ) -> PhasesConfig? {
        guard let object = value.object else {
            reader.wrongType(value, "an object", path)
            return nil
        }
        var phases = PhasesConfig()
        for (name, settings) in object {
            phases.byName[name] = PhaseConfig.read(settings, spec, "\(path).\(name)", reader)
        }
        return phases
    }

    package var json: JSON {
        .object(JSONObject(pairs: byName.map { ($0.key, $0.value.json) }))
    }

    package static func schema(_ spec: KeySpec) -> JSONObject {
        ["type": "object", "additionalProperties": .object(PhaseConfig.schema(spec))]
    }

    package static func typeName(_ spec: KeySpec) -> String { "object: phase -> settings" }
    package static var sectionKeys: [any AnyKey]? { PhaseConfig.sectionKeys }
}
