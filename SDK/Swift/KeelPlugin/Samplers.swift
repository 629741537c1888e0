/// A token sampler: edits the logits of the next token, or chooses it.
public protocol TokenSampler: Component {
    /// Edits the logits. Returns the token, or nil to let the host draw from what is left.
    func sample(_ logits: Logits) throws -> Int?
}

extension TokenSampler {
    /// Describes the sampler to the host.
    public static func describe(_ part: Part) { part.tokenSampler(Self.self) }
}

/// A token sampler with memory for each sequence, which the host keeps, moves and saves with it.
///
///     struct Once: RememberingTokenSampler {
///         static let name = "once"
///         func sample(_ logits: Logits, _ uses: inout Int32) -> Int? { ... }
///     }
public protocol RememberingTokenSampler: Component {
    /// Plain numbers, or a struct or tuple of them; all bits are 0 when a sequence begins.
    associatedtype Memory: BitwiseCopyable
    /// Edits the logits. Returns the token, or nil to let the host draw from what is left.
    func sample(_ logits: Logits, _ memory: inout Memory) throws -> Int?
}

extension RememberingTokenSampler {
    /// Describes the sampler to the host.
    public static func describe(_ part: Part) { part.rememberingTokenSampler(Self.self) }
}

/// A data sampler: the order in which an epoch takes its rows.
public protocol DataSampler: Component {
    /// Columns of the data set it reads, and those of `Learning.feedback`.
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

/// A data sampler that hears how the rows of a step did, for priorities.
public protocol Learning: DataSampler {
    /// After a step: the rows it used, and the columns the sampler needs, in the same order.
    mutating func feedback(_ rows: [Int], _ columns: Columns) throws
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
    /// A `[rows]` column of the data set.
    ///
    /// - Throws: `PluginError.missing` when there is none.
    public func column(_ name: String) throws -> Column { try call.column(name) }
    /// A value of a data set row by JSON pointer; nil when absent or null.
    public func field(_ pointer: String, row: Int) -> String? { call.field(pointer, row) }
}
