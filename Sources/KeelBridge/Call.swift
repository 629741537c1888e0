import CKeel
import Glibc
import KeelCore
import KeelTensor

/// The status codes of the contract.
enum CallStatus: Int32 {
    case ok = 0
    case invalid = 1
    case missing = 2
    case unsupported = 3
    case state = 4
    case cancelled = 5
    case `internal` = 6

    var words: String {
        switch self {
        case .ok: "ok"
        case .invalid: "invalid"
        case .missing: "missing"
        case .unsupported: "unsupported"
        case .state: "state"
        case .cancelled: "cancelled"
        case .internal: "internal"
        }
    }
}

/// Why a callback failed, as plugin or host put it.
struct CallFailure: Error {
    var status: CallStatus
    var text: String

    init(_ status: CallStatus, _ text: String) {
        self.status = status
        self.text = text
    }

    /// What to do about something that is missing.
    static let missingFix =
        "declare it in the component (KEEL_NEEDS, KEEL_PARAMS in C; needs, @Param in Swift), or see that the data has it"

    /// A callback returned a failure and said nothing.
    static func silent(_ status: Int32) -> CallFailure {
        let known = CallStatus(rawValue: status)
        return CallFailure(
            known ?? .internal,
            "returned the status \"\(known?.words ?? "unknown")\" without a text")
    }

    static func undeclaredColumn(_ name: String, declared: some Sequence<String>) -> CallFailure {
        CallFailure(
            .missing,
            "asked for the column \"\(name)\", which is not among its needs"
                + guess(name, declared.sorted()))
    }

    static func undeclaredParameter(
        _ name: String, declared: some Sequence<String>
    ) -> CallFailure {
        CallFailure(
            .missing,
            "asked for the parameter \"\(name)\", which it does not declare"
                + guess(name, declared.sorted()))
    }

    static func undeclaredGives(_ name: String, gives: [String]) -> CallFailure {
        CallFailure(
            .invalid,
            "puts the column \"\(name)\", which is not among what it gives" + guess(name, gives))
    }

    private static func guess(_ name: String, _ known: [String]) -> String {
        nearest(name, among: known).map { "; did you mean \"\($0)\"?" } ?? ""
    }
}

/// One callback of a plugin: what `keel_call` points to, and all that the host's functions work on.
///
/// The first error is kept and ends the call; what the call lends lives until it is released.
final class Call: @unchecked Sendable {
    enum Stage: String {
        case create, save, load, prepare, feedback, ask, score, loss, sample, order

        fileprivate var text: StaticString {
            switch self {
            case .create: "create"
            case .save: "save"
            case .load: "load"
            case .prepare: "prepare"
            case .feedback: "feedback"
            case .ask: "ask"
            case .score: "score"
            case .loss: "loss"
            case .sample: "sample"
            case .order: "order"
            }
        }
    }

    /// The memory behind `keel_call *`: the host's table must come first.
    private struct Record {
        var host: UnsafePointer<keel_host>
        var call: Unmanaged<Call>
    }

    let instance: Instance
    let stage: Stage
    let context: CallContext
    let memory = LentMemory()
    /// What the callback sees; `put` adds to it.
    var batch: ColumnBatch
    /// Names that `put` has added.
    private(set) var given: [String] = []
    var metrics = MetricSums()
    /// Bytes that `write` has appended.
    var written: [UInt8] = []
    /// Text that `put_text` has set.
    var asked: [[UInt8]?] = []
    /// Only in `loss`.
    var tensors: TensorTable?
    /// Columns and reduction that `create` has asked for.
    var extraNeeds: [String] = []
    /// The kind of data that `create` asked for.
    var chosenData: String?
    var chosenReduction: (Reduction, Double)?
    private let failure = Guarded<CallFailure?>(nil)
    private let record: UnsafeMutablePointer<Record>
    private var arrays: [String: keel_array] = [:]
    /// Text columns that were asked for; few, and asked for row by row.
    private var texts: [(name: keel_str, cells: UnsafeMutablePointer<keel_str>)] = []
    private var ids: [Int: UnsafeMutablePointer<Int32>] = [:]
    private var phaseName: UnsafePointer<CChar>?
    /// What `batch` lacks and can be made; only in `prepare`.
    var source: ColumnSource?
    /// Why `source` could not make a column: it ends the callback in the error's own words.
    private(set) var sourceError: (any Error)?
    /// Which rows count; filled when first asked for.
    var live: LiveRows?
    /// Where watchers see the callback; -1 once it has returned.
    private var place: Int32 = -1

    /// A call that is made now: the callback counts as entered until `finish`.
    init(_ instance: Instance, _ stage: Stage, batch: ColumnBatch, context: CallContext) {
        self.instance = instance
        self.stage = stage
        self.batch = batch
        self.context = context
        record = .allocate(capacity: 1)
        record.initialize(to: Record(host: HostTable.pointer, call: Unmanaged.passUnretained(self)))
        let isOfStep = stage != .create && stage != .order
        place = ActiveCalls.enter(
            instance.shown, stage.text, step: isOfStep ? context.step : nil)
    }

    private func leave() {
        guard place >= 0 else { return }
        let left = place
        place = -1
        ActiveCalls.leave(left)
    }

    deinit {
        leave()
        record.deallocate()
    }

    /// What the plugin gets.
    var pointer: UnsafeMutablePointer<keel_call> {
        UnsafeMutableRawPointer(record).assumingMemoryBound(to: keel_call.self)
    }

    /// The object behind a pointer that the plugin hands back.
    static func of(_ pointer: UnsafeMutablePointer<keel_call>?) -> Call? {
        guard let pointer else { return nil }
        return UnsafeRawPointer(pointer).load(as: Record.self).call.takeUnretainedValue()
    }

    // MARK: - Errors

    /// Keeps the first error. [any thread]
    func fail(_ failure: CallFailure) {
        self.failure.withLock { if $0 == nil { $0 = failure } }
    }

    var hasFailed: Bool { failure.withLock { $0 != nil } }

    /// Runs a service; its error is kept, and the caller gets `fallback`.
    func attempt<T>(_ fallback: T, _ body: () throws(CallFailure) -> T) -> T {
        do {
            return try body()
        } catch {
            fail(error)
            return fallback
        }
    }

    /// The same for services that answer with a status.
    func status(_ body: () throws(CallFailure) -> Void) -> keel_status {
        do {
            try body()
            return CallStatus.ok.rawValue
        } catch {
            fail(error)
            return error.status.rawValue
        }
    }

    /// Ends the callback.
    ///
    /// - Throws: `KeelError` when the plugin returned a failure or one was recorded.
    func finish(_ status: keel_status = 0) throws {
        leave()
        if let failure = failure.withLock({ $0 }) { throw error(failure) }
        guard status != 0 else { return }
        throw error(.silent(status))
    }

    /// The error as a user reads it: who, what, where.
    func error(_ failure: CallFailure) -> KeelError {
        let component = instance.component
        var place = "\(component.path), \(stage.rawValue)"
        if stage != .create {
            place += stage == .order ? ", epoch \(Int(context.epoch))" : ", step \(context.step)"
            if component.phases.count > 1 { place += ", phase \(context.phase)" }
        }
        return KeelError(
            "plugin", "\(instance.title): \(failure.text)", at: place,
            fix: failure.status == .missing ? CallFailure.missingFix : nil,
            code: stage == .create ? .config : .failed)
    }

    func require(_ stages: Stage..., for service: String) throws(CallFailure) {
        guard stages.contains(stage) else {
            let where_ = stages.map { "`\($0.rawValue)`" }.joined(separator: " and ")
            throw CallFailure(.state, "\(service) belongs to \(where_), not to `\(stage.rawValue)`")
        }
    }

    // MARK: - Facts

    func fact(_ name: String) -> Double {
        switch name {
        case "step": Double(context.step)
        case "epoch": context.epoch
        case "seed": Double(instance.seed)
        default: context.facts[name] ?? .nan
        }
    }

    func phase() -> UnsafePointer<CChar>? {
        if phaseName == nil { phaseName = memory.string(context.phase.utf8).p }
        return phaseName
    }

    func random(row: Int, _ n: UInt64) -> UInt64 {
        let time = stage == .order ? UInt64(max(0, context.epoch)) : UInt64(max(0, context.step))
        return RandomStream(
            seed: instance.seed, place: "plugin/\(instance.name)/\(context.phase)", time,
            batch.rowID(row)
        ).bits(n)
    }

    // MARK: - Rows

    private func checkRow(_ row: Int) throws(CallFailure) {
        guard row >= 0, row < batch.rows else {
            throw CallFailure(.invalid, "asked for row \(row) of a batch of \(batch.rows)")
        }
    }

    /// - Parameter name: ends with a NUL.
    func text(_ name: UnsafePointer<CChar>, _ row: Int) throws(CallFailure) -> keel_str {
        try checkRow(row)
        for column in texts where strcmp(column.name.p, name) == 0 { return column.cells[row] }
        let words = String(cString: name)
        let cells: UnsafeMutablePointer<keel_str>
        // A handful of names: comparing is faster than hashing.
        if let column = batch.text.first(where: { $0.key == words })?.value {
            cells = memory.strings(column, count: batch.rows)
        } else {
            let rows = words == "row" ? batch.rowJSON.map { Array($0.text().utf8) } : []
            cells = memory.strings(rows, count: batch.rows)
        }
        texts.append((memory.string(words.utf8), cells))
        return cells[row]
    }

    func field(_ row: Int, _ pointer: String) throws(CallFailure) -> keel_str {
        try checkRow(row)
        guard pointer.isEmpty || pointer.hasPrefix("/") else {
            throw CallFailure(
                .invalid, "\"\(pointer)\" is not a JSON pointer; write \"/\(pointer)\"")
        }
        guard row < batch.rowJSON.count, let value = batch.rowJSON[row].value(at: pointer),
            !value.isNull
        else {
            return keel_str(p: nil, n: 0)
        }
        if case .string(let text) = value { return memory.string(text.utf8) }
        return memory.string(value.text().utf8)
    }

    func tokens(_ row: Int) throws(CallFailure) -> (UnsafePointer<Int32>, prompt: Int, total: Int)?
    {
        try checkRow(row)
        guard row < batch.tokens.count else { return nil }
        let list = batch.tokens[row]
        let start = ids[row] ?? memory.copy(list)
        ids[row] = start
        let prompt = row < batch.promptLengths.count ? batch.promptLengths[row] : 0
        return (UnsafePointer(start), prompt, list.count)
    }

    // MARK: - Columns

    /// Whether the component may ask for a column: it declared it, or what it follows from.
    private func isDeclared(_ name: String, _ declared: Set<String>) -> Bool {
        if ColumnNames.isStructural(name) || given.contains(name) || declared.contains(name) {
            return true
        }
        return ColumnNames.derivation(of: name).map { declared.contains($0.source) } ?? false
    }

    private func checkDeclared(_ name: String) throws(CallFailure) {
        let declared = instance.readable(phase: context.phase)
        if isDeclared(name, declared) { return }
        throw .undeclaredColumn(name, declared: declared)
    }

    func hasColumn(_ name: String) -> Bool {
        if batch.text[name] != nil || (name == "row" && !batch.rowJSON.isEmpty) { return true }
        return (batch.hasColumn(name) || source?.has(name) == true)
            && isDeclared(name, instance.readable(phase: context.phase))
    }

    /// A column that must be there.
    func find(_ name: String) throws(CallFailure) -> Column {
        try checkDeclared(name)
        if let column = batch.column(name) { return column }
        do {
            if let made = try source?.column(behind: name) {
                batch.columns[made.name] = made.column
            }
        } catch {
            sourceError = error
            throw CallFailure(.internal, "the column \"\(name)\" could not be computed")
        }
        guard let column = batch.column(name) else {
            throw CallFailure(
                .missing,
                "the column \"\(name)\" is not there; the batch has \(batch.names.joined(separator: ", "))"
            )
        }
        return column
    }

    func array(_ name: String) throws(CallFailure) -> keel_array {
        guard stage != .loss else {
            throw CallFailure(
                .state, "`column` cannot be used in `loss`: take the tensor with `input`")
        }
        if let known = arrays[name] { return known }
        let array = memory.array(try find(name))
        arrays[name] = array
        return array
    }

    func put(_ name: String, _ array: keel_array) throws(CallFailure) {
        try require(.prepare, .score, for: "`put`")
        let gives = instance.component.gives
        guard gives.contains(name) else {
            throw .undeclaredGives(name, gives: gives)
        }
        let column = try Column(array, name: name)
        guard column.shape.first == batch.rows else {
            throw CallFailure(
                .invalid, "puts \(column.described(name)) for a batch of \(batch.rows) rows")
        }
        batch.columns[name] = column
        arrays[name] = nil
        if !given.contains(name) { given.append(name) }
    }
}

extension Column {
    /// A copy of a plugin's array.
    init(_ array: keel_array, name: String) throws(CallFailure) {
        guard array.ndim >= 0, array.ndim <= 8, array.device_type == 1, array.lanes <= 1 else {
            throw CallFailure(
                .invalid,
                "array \"\(name)\": \(array.ndim) dimensions on device type \(array.device_type)")
        }
        var shape: [Int] = []
        var strides: [Int] = []
        var count = 1
        for axis in 0..<Int(array.ndim) {
            guard let lengths = array.shape, lengths[axis] >= 0 else {
                throw CallFailure(.invalid, "array \"\(name)\" has no shape, or a negative length")
            }
            let (product, overflow) = count.multipliedReportingOverflow(by: Int(lengths[axis]))
            guard !overflow, product <= 1 << 40 else {
                throw CallFailure(.invalid, "array \"\(name)\" has too many cells")
            }
            count = product
            shape.append(Int(lengths[axis]))
            if let given = array.strides { strides.append(Int(given[axis])) }
        }
        guard let data = array.data, count > 0 else {
            guard count == 0 else { throw CallFailure(.invalid, "array \"\(name)\" has no data") }
            self.init(shape: shape, [])
            return
        }
        let start = UnsafeRawPointer(data) + Int(array.byte_offset)
        let offsets = strides.isEmpty ? nil : Column.offsets(shape, strides)
        func read<T: BitwiseCopyable>(_: T.Type) -> [T] {
            (0..<count).map {
                start.loadUnaligned(
                    fromByteOffset: (offsets?[$0] ?? $0) * MemoryLayout<T>.size, as: T.self)
            }
        }
        switch (array.code, array.bits) {
        case (2, 64): self.init(shape: shape, read(Double.self))
        case (2, 32): self.init(shape: shape, read(Float.self).map(Double.init))
        case (0, 32): self.init(shape: shape, ints: read(Int32.self))
        case (0, 64):
            let wide = read(Int64.self)
            let narrow = wide.compactMap { Int32(exactly: $0) }
            if narrow.count == wide.count {
                self.init(shape: shape, ints: narrow)
            } else {
                self.init(shape: shape, wide.map(Double.init))
            }
        default:
            throw CallFailure(
                .unsupported,
                "array \"\(name)\" holds type \(array.code) of \(array.bits) bits; f32, f64, i32 and i64 work"
            )
        }
    }

    /// Where each cell of a strided array lies, row-major; nil when that is simply 0, 1, 2 ...
    private static func offsets(_ shape: [Int], _ strides: [Int]) -> [Int]? {
        var expected = 1
        var isPlain = true
        for axis in stride(from: shape.count - 1, through: 0, by: -1) {
            if shape[axis] > 1, strides[axis] != expected { isPlain = false }
            expected *= shape[axis]
        }
        if isPlain { return nil }
        var out = [0]
        for axis in shape.indices {
            out = out.flatMap { base in (0..<shape[axis]).map { base + $0 * strides[axis] } }
        }
        return out
    }
}
