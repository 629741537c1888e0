/// A reward: a score for each response by itself.
///
/// The host weighs, clips and combines. It may split, reorder and repeat batches; a reward whose rows depend
/// on each other is a `GroupReward`.
public protocol Reward: Component {
    /// Columns it reads, besides the texts.
    static var needs: [String] { get }
    /// Whether several threads may score with one instance at once; not with memory of its own.
    static var isParallel: Bool { get }
    /// The score, a finite number of any scale; nil where the reward does not apply.
    func score(_ sample: Sample) throws -> Double?
}

extension Reward {
    /// Only the texts.
    public static var needs: [String] { [] }
    /// One thread at a time.
    public static var isParallel: Bool { false }
    /// Describes the reward to the host.
    public static func describe(_ part: Part) { part.reward(Self.self) }
}

/// A reward that also says how each token did: the column `token_rewards`.
public protocol TokenRewarding: Reward {
    /// One number per response token, in the unit of `score` and beside it; missing ones are 0.
    func tokenRewards(_ sample: Sample) throws -> [Double]
}

/// A reward whose rows depend on each other, such as a ranking inside a group: it gets whole groups.
public protocol GroupReward: Component {
    /// Columns it reads, besides the texts.
    static var needs: [String] { get }
    /// One score per sample; nil where the reward does not apply. `sample.group` tells which belong together.
    func score(_ samples: [Sample]) throws -> [Double?]
}

extension GroupReward {
    /// The group of each row.
    public static var needs: [String] { ["group"] }
    /// Describes the reward to the host.
    public static func describe(_ part: Part) { part.groupReward(Self.self) }
}

/// A reward that lets a judge model answer a question about each response; `sample.reply` is the answer.
public protocol Asking: Component {
    /// The judge's prompt; nil = no question about this row.
    func ask(_ sample: Sample) throws -> String?
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
    /// What the judge answered; nil where it was not asked.
    public var reply: String? { call.text("reply", row) }
    /// The ids of the response's tokens.
    public var tokens: [Int32] {
        let all = call.tokens(row)
        return Array(all.ids.dropFirst(all.prompt))
    }
    /// The ids of the prompt's tokens.
    public var promptTokens: [Int32] {
        let all = call.tokens(row)
        return Array(all.ids.prefix(all.prompt))
    }
    /// A value of the data set row by JSON pointer, as in "/answer": a text's characters, anything else as JSON
    /// text; nil when absent or null.
    public func field(_ pointer: String) -> String? { call.field(pointer, row) }
    /// The same as a value; "" is the whole row.
    public func json(_ pointer: String = "") -> JSONValue? {
        guard pointer.isEmpty else {
            guard let text = call.field(pointer, row) else { return nil }
            return JSONValue(parsing: text) ?? .string(text)
        }
        return call.text("row", row).flatMap(JSONValue.init(parsing:))
    }
    /// The group of the response: the responses to one prompt share a number; 0 where nothing is grouped.
    public var group: Int { Int(call.cell("group", row) ?? 0) }
    /// This row's cell of a column of shape `[rows]` that the reward needs, as "model_scores"; nil when the
    /// column is not there or the cell is NaN.
    public func value(_ column: String) -> Double? {
        call.cell(column, row).flatMap { $0.isNaN ? nil : $0 }
    }
    /// A random number in [0, 1): always the same for the same run, row and n.
    public func uniform(_ n: UInt64) -> Double { call.uniform(row, n) }
}
