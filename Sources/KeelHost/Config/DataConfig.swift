import Glibc
import KeelCore

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
        "max_length", .number(from: 2),
        "Most tokens of prompt and completion together; null for no limit.")
    package var maxLength: Int? = 1024

    @Key(
        "max_prompt_length", .number(from: 1),
        "Most tokens of a prompt; null for no limit of its own.")
    package var maxPromptLength: Int? = nil

    @Key(
        "max_completion_length", .number(from: 1),
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
