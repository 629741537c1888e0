/// What every component has: a name for configs, one sentence of help, parameters declared with `@Param`.
public protocol Component {
    /// What configs call it: lower case, digits, underscores.
    static var name: String { get }
    /// One sentence.
    static var help: String { get }
    /// An instance with default parameters; the host's values are filled in before anything else is called.
    init()
    /// Looks at the parameters once they are known; throw what is wrong with them.
    mutating func setup(_ call: Call) throws
    /// Describes the component to the host. Provided for each kind.
    static func describe(_ part: Part)
}

extension Component {
    /// Nothing to set up.
    public mutating func setup(_ call: Call) throws {}
    /// No help.
    public static var help: String { "" }
}

/// How the host makes one number of the losses, over all micro-batches.
public enum Reduction: String, Sendable {
    case rowMean = "row_mean"
    case tokenMean = "token_mean"
    case rowMeanOfTokenMean = "row_mean_of_token_mean"
    case constant
}

/// An objective: the loss of a batch, as a formula.
///
/// `loss` returns one number per row `[batch]` or per token `[batch, time]`; the host masks and reduces.
public protocol Objective: Component {
    /// What the loss reads: `Rows` or `Pairs`.
    associatedtype Batch: BatchView
    /// The kind of data and the columns.
    static var needs: Needs { get }
    /// How the losses become one number; the mean over rows unless said.
    static var reduction: Reduction { get }
    /// Whether rows depend on each other, so that groups must stay together.
    static var coupled: Bool { get }
    /// The unreduced loss.
    func loss(_ batch: Batch) throws -> Tensor
}

extension Objective {
    /// The mean over rows.
    public static var reduction: Reduction { .rowMean }
    /// Rows are independent.
    public static var coupled: Bool { false }

    /// Describes the objective to the host.
    public static func describe(_ part: Part) { part.objective(Self.self) }
}

/// An objective that works on its rows before the losses of a step, without gradient.
public protocol Preparing: Component {
    /// The columns it gives.
    static var gives: [String] { get }
    /// Reads columns and gives new ones; a `weight` of 0 filters a row.
    mutating func prepare(_ columns: Columns) throws
}

/// A component with memory that a checkpoint must hold.
public protocol Stateful: Component {
    /// Raise it when the bytes change their meaning.
    static var stateVersion: UInt32 { get }
    /// The memory as bytes.
    func save() throws -> [UInt8]
    /// Takes it back; throw when the bytes cannot be read.
    mutating func load(_ bytes: [UInt8], version: UInt32) throws
}

/// A reward: a score for each response by itself.
public protocol Reward: Component {
    /// Columns it reads, besides the texts.
    static var needs: [String] { get }
    /// The score; nil where the reward does not apply.
    func score(_ sample: Sample) throws -> Double?
}

extension Reward {
    /// Only the texts.
    public static var needs: [String] { [] }
    /// Describes the reward to the host.
    public static func describe(_ part: Part) { part.reward(Self.self) }
}

/// A reward whose rows depend on each other, such as a ranking inside a group: it gets whole groups.
public protocol GroupReward: Component {
    /// Columns it reads, besides the texts.
    static var needs: [String] { get }
    /// One score per sample; nil where the reward does not apply.
    func score(_ samples: [Sample]) throws -> [Double?]
}

extension GroupReward {
    /// The group of each row.
    public static var needs: [String] { ["group"] }
    /// Describes the reward to the host.
    public static func describe(_ part: Part) { part.groupReward(Self.self) }
}

/// A response to score.
public struct Sample {
    /// The call it belongs to.
    public let call: Call
    /// Its row in the batch.
    public let row: Int

    /// The prompt as text; invalid UTF-8 is repaired.
    public var prompt: String { call.text("prompt", row) ?? "" }
    /// The response as text; invalid UTF-8 is repaired.
    public var response: String { call.text("response", row) ?? "" }
    /// The response as bytes, untouched.
    public var responseBytes: [UInt8] { call.bytes("response", row) ?? [] }
    /// A value of the data set row by JSON pointer, as in "/answer"; nil when absent or null.
    public func field(_ pointer: String) -> String? { call.field(pointer, row) }
    /// The ids of the response; empty where there is only text.
    public var tokens: [Int32] {
        let (ids, prompt) = call.tokens(row)
        return Array(ids.dropFirst(prompt))
    }
    /// The group of the response: the responses to one prompt share a number; 0 where nothing is grouped.
    public var group: Int { Int(call.cell("group", row) ?? 0) }
    /// What the judge answered to the row's question; nil where it was not asked.
    public var reply: String? { call.text("reply", row) }
    /// This row's cell of a column of shape `[rows]`; nil when the column is not there or the cell is NaN.
    public func value(_ column: String) -> Double? {
        call.cell(column, row).flatMap { $0.isNaN ? nil : $0 }
    }
    /// A random number in [0, 1): always the same for the same run, row and n.
    public func uniform(_ n: UInt64) -> Double { call.uniform(row, n) }
}

/// A token sampler: edits the logits of the next token, or chooses it.
public protocol TokenSampler: Component {
    /// Edits the logits. Returns the token, or nil to let the host draw from what is left.
    func sample(_ logits: Logits) throws -> Int?
}

extension TokenSampler {
    /// Describes the sampler to the host.
    public static func describe(_ part: Part) { part.tokenSampler(Self.self) }
}

/// A data sampler: the order in which an epoch takes its rows.
public protocol DataSampler: Component {
    /// Columns of the data set it reads.
    static var needs: [String] { get }
    /// `epoch.count` row numbers below `epoch.rows`; repeats are allowed.
    func order(_ epoch: Epoch) throws -> [Int]
}

extension DataSampler {
    /// No columns.
    public static var needs: [String] { [] }
    /// Describes the sampler to the host.
    public static func describe(_ part: Part) { part.dataSampler(Self.self) }
}

/// An epoch whose order is asked for.
public struct Epoch {
    /// The call it belongs to.
    public let call: Call
    /// Which epoch, from 0.
    public let number: Int
    /// The rows of the data set.
    public let rows: Int
    /// How many row numbers are wanted.
    public let count: Int

    /// A random number in [0, 1): always the same for the same run, epoch and n.
    public func uniform(_ n: UInt64) -> Double { call.uniform(0, n) }
    /// 64 random bits, likewise.
    public func random(_ n: UInt64) -> UInt64 { call.random(0, n) }
    /// A column of the data set.
    public func column(_ name: String) throws -> Column { try call.column(name) }
}

/// What went wrong, in the words of the component.
public struct PluginError: Error, CustomStringConvertible {
    /// The class of an error, as the host knows it.
    public enum Code: Int32, Sendable {
        case invalid = 1
        case missing = 2
        case unsupported = 3
        case state = 4
        case cancelled = 5
        case internalError = 6
    }

    /// The class of the error.
    public let code: Code
    /// What is wrong, with the offending value.
    public let description: String

    /// An error with a text.
    public init(_ code: Code = .invalid, _ text: String) {
        self.code = code
        description = text
    }
}
