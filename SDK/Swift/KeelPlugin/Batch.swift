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

    /// Whether the call has a column.
    public func has(_ name: String) -> Bool { call.has(name) }
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
    /// `[batch, time]` of the full next-token distribution.
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

/// A column as plain numbers, row-major.
public struct Column {
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

/// What `prepare` reads and gives: columns as numbers, without gradient, over all rows of a step.
public struct Columns {
    let call: Call

    /// The number of rows.
    public var rows: Int { call.rows }
    /// Whether there is such a column.
    public func has(_ name: String) -> Bool { call.has(name) }
    /// A column by its name in the C interface.
    ///
    /// - Throws: `PluginError.missing` when there is none.
    public func callAsFunction(_ name: String) throws -> Column { try call.column(name) }
    /// Gives a column to the loss and the later stages.
    public func put(_ name: String, _ column: Column) throws { try call.put(name, column) }
    /// Adds a number to a metric of this step.
    public func metric(_ name: String, _ value: Double, _ how: MetricKind = .mean) {
        call.metric(name, value, how)
    }
    /// Random numbers of this step; see `Call.uniform`.
    public func uniform(_ row: Int, _ n: UInt64) -> Double { call.uniform(row, n) }
}
