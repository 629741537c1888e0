import Glibc
import KeelCore
import KeelTensor

/// What a test has to work with, in its own process.
final class Trial: @unchecked Sendable {
    let path: String
    /// The component under test; nil for tests of the file.
    let component: Component?
    let catalog: PluginCatalog
    let seed: UInt64
    /// Parameters of the command line.
    let params: JSONObject
    /// Seconds the test may take.
    let timeout: Double
    var dice: Dice
    /// Remarks of a test that passes.
    private(set) var notes: [String] = []
    /// What a second process must come to as well.
    private(set) var digest = SHA256()
    /// False when time cut the work short: a second process may have come further.
    var isComparable = true
    /// Facts for the parent process.
    var facts = JSONObject()
    /// Where the test is, for the report of a crash.
    private let trail: Int32

    init(
        path: String, component: Component?, catalog: PluginCatalog, seed: UInt64,
        params: JSONObject, timeout: Double, trail: Int32, test: String
    ) {
        self.path = path
        self.component = component
        self.catalog = catalog
        self.seed = seed
        self.params = params
        self.timeout = timeout
        self.trail = trail
        dice = Dice(seed: seed, place: "check/\(test)/\(component?.name ?? "")")
    }

    /// What the next calls are made with, for the report of a crash: parameters, a fault.
    var circumstances = ""

    /// Says where the test is: the last such line is reported when the process dies.
    func at(_ place: String) {
        let line = Array("@\(place)\(circumstances.isEmpty ? "" : ", ")\(circumstances)\n".utf8)
        _ = line.withUnsafeBytes { Glibc.write(trail, $0.baseAddress, $0.count) }
    }

    /// Adds a remark to a test that passes.
    func note(_ text: String) { notes.append(text) }

    /// Adds to what a second process must come to as well.
    func record(_ bytes: [UInt8]) { bytes.withUnsafeBytes { digest.update($0) } }

    /// The component; tests of components always have one.
    var subject: Component {
        guard let component else { preconditionFailure("a test of the file asks for a component") }
        return component
    }

    /// The defaults with the command line's parameters and further ones.
    func parameters(_ more: JSONObject = JSONObject()) throws -> ParameterValues {
        var all = params
        for (key, value) in more { all[key] = value }
        return try subject.validate(params: all)
    }

    /// The component at work, ready to be called.
    func rig(_ more: JSONObject = JSONObject(), name: String? = nil) throws -> any Rig {
        let values = try parameters(more)
        switch subject.kind {
        case .reward: return try RewardRig(self, values, name: name)
        case .objective: return try ObjectiveRig(self, values, name: name)
        case .tokenSampler: return try TokenSamplerRig(self, values, name: name)
        case .dataSampler: return try DataSamplerRig(self, values, name: name)
        }
    }

    /// What an error says in one sentence.
    static func words(_ error: any Error) -> String {
        switch error {
        case let error as KeelError: error.what
        case let errors as KeelErrors: errors.errors.first?.what ?? "several errors"
        case let finding as Finding: finding.what
        default: "\(error)"
        }
    }
}

/// One instance of the component under test, and ordinary work for it.
protocol Rig: AnyObject {
    var instance: Instance { get }
    /// Does ordinary work, a pure function of the trial's seed and `round`.
    ///
    /// - Returns: everything that came out, bit for bit.
    func work(_ round: Int) throws -> [UInt8]
    /// The same while the run is stopping.
    func workWhileStopping() throws
    /// Work with random and odd inputs.
    func fuzz(_ dice: inout Dice) throws -> [UInt8]
}

/// Random numbers in a row, from a seed.
struct Dice: Sendable {
    private let stream: RandomStream
    private var at: UInt64 = 0

    init(seed: UInt64, place: String) { stream = RandomStream(seed: seed, place: place) }

    mutating func bits() -> UInt64 {
        at += 1
        return stream.bits(at)
    }

    /// In [0, 1).
    mutating func uniform() -> Double { Double(bits() >> 11) * 0x1p-53 }

    mutating func uniform(_ range: ClosedRange<Double>) -> Double {
        range.lowerBound + (range.upperBound - range.lowerBound) * uniform()
    }

    /// In 0 ..< bound.
    mutating func below(_ bound: Int) -> Int {
        Int(bits().multipliedFullWidth(by: UInt64(max(bound, 1))).high)
    }

    mutating func pick<T>(_ list: [T]) -> T { list[below(list.count)] }

    mutating func doubles(_ count: Int, _ range: ClosedRange<Double>) -> [Double] {
        (0..<count).map { _ in uniform(range) }
    }
}

/// Bits of results, to be compared.
struct Bits {
    private(set) var bytes: [UInt8] = []

    mutating func add(_ values: [Float]) {
        for value in values { add(UInt64(value.isNaN ? 0x7FC0_0000 : value.bitPattern)) }
    }

    mutating func add(_ values: [Double]) {
        for value in values { add(value.isNaN ? 0x7FF8_0000_0000_0000 : value.bitPattern) }
    }

    mutating func add(_ columns: [String: Column]) {
        for (name, column) in columns.sorted(by: { $0.key < $1.key }) {
            bytes += Array(name.utf8)
            add(column.values)
        }
    }

    mutating func add(_ text: String) { bytes += Array(text.utf8) }

    private mutating func add(_ bits: UInt64) {
        for shift in stride(from: 0, to: 64, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: bits >> UInt64(shift)))
        }
    }
}
