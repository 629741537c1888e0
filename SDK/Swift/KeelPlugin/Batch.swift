/// What a loss reads: the columns of its rows as tensors, and a place for metrics.
public protocol BatchView {
    /// The view of one call.
    init(_ call: Call)
    /// The call it belongs to.
    var call: Call { get }
}

extension BatchView {
    /// Adds the cells that count to a metric of this step.
    ///
    /// `[batch, time]` counts the cells under the mask, `[batch]` the rows with trained tokens; NaN is left out.
    public func metric(_ name: String, _ tensor: Tensor, _ how: MetricKind = .mean) {
        call.metric(name, tensor.detached(), how)
    }

    /// Adds a number to a metric of this step.
    public func metric(_ name: String, _ value: Double, _ how: MetricKind = .mean) {
        call.metric(name, value, how)
    }

    /// Any column by its name in the C interface.
    public func column(_ name: String) -> Tensor { call.input(name) }

    /// Whether the call has a column that the objective needs.
    public func has(_ name: String) -> Bool { call.has(name) }

    /// The phase this loss belongs to; "policy" where none are declared.
    public var phase: String { call.phase }

    /// A constant from plain numbers.
    public func constant(_ column: Column) -> Tensor { call.constant(column) }
}

/// How the values of a metric become one number for a step.
public enum MetricKind: Int32, Sendable {
    case mean = 0
    case sum = 1
    case min = 2
    case max = 3
}

/// The rows of texts, scored responses, roll-outs; or one side of pairs.
///
/// Columns of the current policy carry gradients: `logprobs`, `seqLogprobs`, `meanLogprobs`, `entropy`,
/// `values`, `seqValues`, `scores`. All others are constants.
public struct Rows: BatchView {
    /// The call the rows belong to.
    public let call: Call
    let prefix: String

    /// The rows of a call without sides.
    public init(_ call: Call) { self.init(call, prefix: "") }

    init(_ call: Call, prefix: String) {
        self.call = call
        self.prefix = prefix
    }

    private func own(_ name: String) -> Tensor { call.input(prefix + name) }

    /// `[batch, time]` log π of the taken tokens.
    public var logprobs: Tensor { own("logprobs") }
    /// `[batch, time]` under the reference.
    public var refLogprobs: Tensor { own("ref_logprobs") }
    /// `[batch, time]` under the policy when the response was sampled.
    public var oldLogprobs: Tensor { own("old_logprobs") }
    /// `[batch, time]` after the sampler's editing.
    public var behaviorLogprobs: Tensor { own("behavior_logprobs") }
    /// `[batch, time]` the mean log-probability over the vocabulary.
    public var vocabLogprobs: Tensor { own("vocab_logprobs") }
    /// `[batch]` sums of `logprobs` over the mask.
    public var seqLogprobs: Tensor { own("seq_logprobs") }
    /// `[batch]` sums of `refLogprobs`.
    public var refSeqLogprobs: Tensor { own("ref_seq_logprobs") }
    /// `[batch]` sums of `oldLogprobs`.
    public var oldSeqLogprobs: Tensor { own("old_seq_logprobs") }
    /// `[batch]` means of `logprobs`; 0 where there are no tokens.
    public var meanLogprobs: Tensor { own("mean_logprobs") }
    /// `[batch, time]` 1 on response tokens.
    public var mask: Tensor { own("mask") }
    /// `[batch, time]` ids of the response tokens.
    public var tokens: Tensor { own("tokens") }
    /// `[batch, time]` of the full next-token distribution, in nats.
    public var entropy: Tensor { own("entropy") }
    /// `[batch, time]` value before each token.
    public var values: Tensor { own("values") }
    /// `[batch, time]` values when the response was sampled.
    public var oldValues: Tensor { own("old_values") }
    /// `[batch]` one value per prompt.
    public var seqValues: Tensor { own("seq_values") }
    /// `[batch]` of a reward head.
    public var scores: Tensor { own("scores") }
    /// `[batch]` from the reward plugins or the data.
    public var rewards: Tensor { own("rewards") }
    /// `[batch, time]` from rewards that judge tokens.
    public var tokenRewards: Tensor { own("token_rewards") }
    /// `[batch]` tokens of the response.
    public var length: Tensor { own("length") }
    /// `[batch]` 1 where the response ended by itself.
    public var finished: Tensor { own("finished") }
    /// `[batch]` what multiplies a row's loss.
    public var weight: Tensor { own("weight") }
    /// The same completions after other prompts of the batch (KTO): `seqLogprobs` and `refSeqLogprobs`.
    public var mismatched: Rows { Rows(call, prefix: "mismatched.") }
    /// `[batch]` or `[batch, time]`, what `prepare` gave.
    public var advantages: Tensor { own("advantages") }
    /// `[batch, time]`, what `prepare` gave.
    public var returns: Tensor { own("returns") }
    /// `[batch]` 1 for a wanted response.
    public var label: Tensor { own("label") }
    /// `[batch]` the prompt a row belongs to.
    public var group: Tensor { own("group") }

    /// Whether this side has a column.
    public func has(_ name: String) -> Bool { call.has(prefix + name) }
    /// A column of this side by its name in the C interface.
    public func column(_ name: String) -> Tensor { own(name) }
}

/// Pairs of a chosen and a rejected response to the same prompt; one row of the loss each.
public struct Pairs: BatchView {
    /// The call the pairs belong to.
    public let call: Call
    /// The better responses.
    public var chosen: Rows { Rows(call, prefix: "chosen.") }
    /// The worse responses.
    public var rejected: Rows { Rows(call, prefix: "rejected.") }
    /// `[batch]` how much better the chosen side is.
    public var margin: Tensor { call.input("margin") }

    /// The pairs of a call.
    public init(_ call: Call) { self.call = call }
}

/// Several responses to each prompt with their ranks: `[batch, candidates]` each.
public struct Ranked: BatchView {
    /// The call the rows belong to.
    public let call: Call

    /// The rows of a call.
    public init(_ call: Call) { self.call = call }

    /// `[batch, candidates]` sums of log π over each response; differentiable.
    public var seqLogprobs: Tensor { call.input("seq_logprobs") }
    /// `[batch, candidates]` under the reference.
    public var refSeqLogprobs: Tensor { call.input("ref_seq_logprobs") }
    /// `[batch, candidates]` means of log π over each response; differentiable.
    public var meanLogprobs: Tensor { call.input("mean_logprobs") }
    /// `[batch, candidates]` 0 is the best.
    public var rank: Tensor { call.input("rank") }
    /// `[batch, candidates]` 1 where there is a response.
    public var valid: Tensor { call.input("valid") }
    /// `[batch, candidates]` from the data.
    public var rewards: Tensor { call.input("rewards") }
}

/// What an objective with phases of several kinds reads: the view that fits the phase.
public struct AnyBatch: BatchView {
    /// The call the rows belong to.
    public let call: Call

    /// The rows of a call.
    public init(_ call: Call) { self.call = call }

    /// Texts, scored or unpaired responses, roll-outs.
    public var rows: Rows { Rows(call) }
    /// Pairs.
    public var pairs: Pairs { Pairs(call) }
    /// Ranked responses.
    public var ranked: Ranked { Ranked(call) }
}

/// A column as plain numbers, row-major.
public struct Column: Sendable, Equatable {
    /// The cells.
    public var values: [Double]
    /// The lengths of the axes.
    public var shape: [Int]

    /// Cells with a shape; without one they are a single axis.
    public init(_ values: [Double], shape: [Int]? = nil) {
        self.values = values
        self.shape = shape ?? [values.count]
    }
}

/// Columns as numbers, without gradient: what `prepare`, `feedback` and explicit gradients read and give.
public struct Columns {
    /// The call they belong to.
    public let call: Call
    private let isLoss: Bool

    init(call: Call, isLoss: Bool = false) {
        self.call = call
        self.isLoss = isLoss
    }

    /// The number of rows.
    public var rows: Int { call.rows }
    /// The phase of the call; "policy" where none are declared.
    public var phase: String { call.phase }
    /// Whether there is such a column, among those that the component needs.
    public func has(_ name: String) -> Bool { call.has(name) }
    /// A column by its name in the C interface.
    ///
    /// - Throws: `PluginError.missing` when there is none.
    public func callAsFunction(_ name: String) throws -> Column {
        try isLoss ? call.read(call.input(name)) : call.column(name)
    }
    /// In `prepare`: gives a column, `[rows]` or `[rows, time]`, to the loss and the later stages.
    ///
    /// - Throws: `PluginError.invalid` when it is not among `gives` or has another number of rows.
    public func put(_ name: String, _ column: Column) throws { try call.put(name, column) }
    /// Adds a number to a metric of this step.
    public func metric(_ name: String, _ value: Double, _ how: MetricKind = .mean) {
        call.metric(name, value, how)
    }
    /// A value of the data set row by JSON pointer; nil when absent or null.
    public func field(_ pointer: String, row: Int) -> String? { call.field(pointer, row) }
    /// Random numbers of this step; see `Call.uniform`.
    public func uniform(_ row: Int, _ n: UInt64) -> Double { call.uniform(row, n) }
}
