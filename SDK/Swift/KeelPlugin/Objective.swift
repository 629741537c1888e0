/// How the host makes one number of the losses, over all micro-batches.
public enum Reduction: String, Sendable {
    /// The mean over rows of the sum of a row's tokens.
    case rowMean = "row_mean"
    /// The mean over all tokens.
    case tokenMean = "token_mean"
    /// The mean over rows of the mean of a row's tokens.
    case rowMeanOfTokenMean = "row_mean_of_token_mean"
    /// The sum of all, divided by a fixed number.
    case constant
}

/// A head or model of the host's whose outputs an objective reads.
public enum Head: String, Sendable {
    /// A model of its own: `values`.
    case critic
    /// One value per token on the policy's trunk: `values`.
    case linearValue = "value_head:linear"
    /// One value per prompt, a learned query over the frozen reference's hidden states: `seq_values`.
    case attentionPoolValue = "value_head:attention_pool"
    /// One value per prompt, the mean of the hidden states through two layers: `seq_values`.
    case mlpPoolValue = "value_head:mlp_pool"
    /// One number at the last real token: `scores`.
    case reward = "reward_head"
}

/// What a phase trains.
public enum Trained: String, Sendable {
    case policy
    case critic
    case valueHead = "value_head"
    case rewardHead = "reward_head"
}

/// How much `prepare` sees at once.
public enum PrepareScope: Sendable {
    /// The rows of an optimizer step, or of a batch of roll-outs.
    case step
    /// All rows of the phase, once; only `[rows]` columns.
    case dataset
}

/// A part of the training with its own data, needs and length.
///
/// `prepare` and `loss` of the objective see which one they are in by `call.phase`.
public struct Phase: Sendable {
    let name: String
    let needs: Needs
    let trains: [Trained]
    let reduction: Reduction?
    let epochs: String?
    let steps: String?
    let prepares: PrepareScope

    /// A phase; phases follow each other in the order of the list, with a checkpoint between them.
    ///
    /// - Parameters:
    ///   - name: lower case, digits, underscores.
    ///   - needs: the kind of data and the columns; empty = those of the objective.
    ///   - trains: whose parameters change.
    ///   - reduction: nil = that of the objective.
    ///   - epochs: the `@Param` that holds the phase's length in epochs; nil = the run's.
    ///   - steps: the same in optimizer steps.
    ///   - prepares: how much `prepare` sees at once.
    public init(
        _ name: String, needs: Needs = [], trains: [Trained] = [.policy],
        reduction: Reduction? = nil, epochs: String? = nil, steps: String? = nil,
        prepares: PrepareScope = .step
    ) {
        self.name = name
        self.needs = needs
        self.trains = trains
        self.reduction = reduction
        self.epochs = epochs
        self.steps = steps
        self.prepares = prepares
    }
}

/// What objectives of both kinds tell about themselves.
public protocol Learner: Component {
    /// The kind of data and the columns.
    static var needs: Needs { get }
    /// How the losses become one number; the mean over rows unless said.
    static var reduction: Reduction { get }
    /// Whether rows depend on each other, so that groups must stay together; a loss may then be `[groups]`.
    static var coupled: Bool { get }
    /// Whether a loss that is a single number is the mean over rows, so that the batch may be split.
    static var isLinear: Bool { get }
    /// Heads and models whose outputs it reads.
    static var heads: [Head] { get }
    /// Its parts, in order; none = one, called "policy".
    static var phases: [Phase] { get }
}

extension Learner {
    /// The mean over rows.
    public static var reduction: Reduction { .rowMean }
    /// Rows are independent.
    public static var coupled: Bool { false }
    /// A single number is final.
    public static var isLinear: Bool { false }
    /// Only the policy and what it is compared with.
    public static var heads: [Head] { [] }
    /// One phase.
    public static var phases: [Phase] { [] }
}

/// An objective: the loss of a batch, as a formula.
///
/// `loss` returns one number per row `[batch]` or per token `[batch, time]`; the host masks and reduces.
/// A single number `[]` is final. Rows of weight 0 or without trained tokens add nothing.
public protocol Objective: Learner {
    /// What the loss reads: `Rows`, `Pairs`, `Ranked`, or `AnyBatch` where phases differ.
    associatedtype Batch: BatchView
    /// The unreduced loss, in the unit of the formula.
    func loss(_ batch: Batch) throws -> Tensor
}

extension Objective {
    /// Describes the objective to the host.
    public static func describe(_ part: Part) { part.objective(Self.self) }
}

/// An objective that computes its own gradient, for losses that tensor operations cannot express.
public protocol ExplicitObjective: Learner {
    /// The unreduced loss, `[batch]` or `[batch, time]`, and the gradient of its sum by columns of the policy,
    /// each in the shape of its column; the host applies mask, weights and reduction to both.
    func evaluate(_ columns: Columns) throws -> (loss: Column, gradients: [String: Column])
}

extension ExplicitObjective {
    /// Describes the objective to the host.
    public static func describe(_ part: Part) { part.explicitObjective(Self.self) }
}

/// An objective that works on its rows before the losses of a step, without gradient.
public protocol Preparing: Learner {
    /// The columns it gives; `loss` and later stages find them by these names.
    static var gives: [String] { get }
    /// How much it sees at once; a step unless said.
    static var scope: PrepareScope { get }
    /// Reads columns and gives new ones; a `weight` of 0 filters a row, any other multiplies its loss.
    mutating func prepare(_ columns: Columns) throws
}

extension Preparing {
    /// The rows of a step.
    public static var scope: PrepareScope { .step }
}
