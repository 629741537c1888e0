/// Turns numbers into the bytes of a state, in the order in which they are written.
public struct StateWriter: Sendable {
    /// The bytes so far, little endian.
    public private(set) var bytes: [UInt8] = []

    /// No bytes yet.
    public init() {}
    /// Appends 64 bits.
    public mutating func write(_ bits: UInt64) {
        for shift in stride(from: 0, to: 64, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: bits >> UInt64(shift)))
        }
    }
    /// Appends a number, bit for bit.
    public mutating func write(_ value: Double) { write(value.bitPattern) }
    /// Appends a whole number.
    public mutating func write(_ value: Int) { write(UInt64(bitPattern: Int64(value))) }
    /// Appends a list of numbers with its length.
    public mutating func write(_ values: [Double]) {
        write(values.count)
        for value in values { write(value) }
    }
}

/// Reads what a `StateWriter` wrote, in the same order.
public struct StateReader: Sendable {
    private let bytes: [UInt8]
    private var place = 0

    /// The bytes of a state.
    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The next 64 bits.
    ///
    /// - Throws: `PluginError.state` at the end of the bytes.
    public mutating func bits() throws -> UInt64 {
        guard place + 8 <= bytes.count else {
            throw PluginError(.state, "a state of \(bytes.count) bytes ends too early")
        }
        defer { place += 8 }
        return (0..<8).reduce(0) { $0 | UInt64(bytes[place + $1]) << UInt64(8 * $1) }
    }
    /// The next number.
    ///
    /// - Throws: `PluginError.state` at the end of the bytes.
    public mutating func double() throws -> Double { Double(bitPattern: try bits()) }
    /// The next whole number.
    ///
    /// - Throws: `PluginError.state` at the end of the bytes.
    public mutating func int() throws -> Int { Int(Int64(bitPattern: try bits())) }
    /// The next list of numbers.
    ///
    /// - Throws: `PluginError.state` when its length is impossible.
    public mutating func doubles() throws -> [Double] {
        let count = try int()
        guard count >= 0, count <= (bytes.count - place) / 8 else {
            throw PluginError(
                .state, "a state of \(bytes.count) bytes holds a list of \(count) numbers")
        }
        return try (0..<count).map { _ in try double() }
    }
    /// Checks that everything was read.
    ///
    /// - Throws: `PluginError.state` when bytes are left.
    public func finish() throws {
        guard place == bytes.count else {
            throw PluginError(.state, "a state has \(bytes.count - place) bytes too many")
        }
    }
}
