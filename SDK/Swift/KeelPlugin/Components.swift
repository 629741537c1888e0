/// What every component has: a name for configs, one sentence of help, parameters declared with `@Param`.
///
/// Whatever a component throws becomes the error of the run, in its own words: throw `PluginError`.
public protocol Component: SendableMetatype {
    /// What configs call it: lower case, digits, underscores.
    static var name: String { get }
    /// One sentence.
    static var help: String { get }
    /// Whether it reads a clock, a network or anything else that a replay of the run would not repeat.
    static var isNondeterministic: Bool { get }
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
    /// The same every time.
    public static var isNondeterministic: Bool { false }
}

/// A component with memory that a checkpoint must hold.
///
/// `StateWriter` and `StateReader` turn numbers into bytes and back.
public protocol Stateful: Component {
    /// Raise it when the bytes change their meaning.
    static var stateVersion: UInt32 { get }
    /// The memory as bytes; called between steps.
    func save() throws -> [UInt8]
    /// Takes it back into a fresh instance; throw when the bytes cannot be read.
    ///
    /// - Parameter version: the `stateVersion` that wrote them.
    mutating func load(_ bytes: [UInt8], version: UInt32) throws
}

extension Stateful {
    /// The first version.
    public static var stateVersion: UInt32 { 1 }
}

/// What went wrong, in the words of the component.
public struct PluginError: Error, CustomStringConvertible {
    /// The class of an error, as the host knows it.
    public enum Code: Int32, Sendable {
        /// A value or shape that cannot be used.
        case invalid = 1
        /// A column, field or parameter that is not there.
        case missing = 2
        /// This host or build cannot do it.
        case unsupported = 3
        /// At the wrong time, or a state that cannot be read.
        case state = 4
        /// The run is stopping.
        case cancelled = 5
        /// A mistake of the component.
        case internalError = 6
    }

    /// The class of the error.
    public let code: Code
    /// What is wrong, with the offending value.
    public let description: String

    /// An error with a text: what is wrong, with the offending value.
    public init(_ code: Code = .invalid, _ text: String) {
        self.code = code
        description = text
    }
}
