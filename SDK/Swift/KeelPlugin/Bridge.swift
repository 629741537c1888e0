// Where Swift meets the C interface: the only file of the SDK that touches pointers.
@_exported import CKeel
import Glibc
import Synchronization

/// The call of the host that a callback runs in; valid until the callback returns.
public struct Call {
    let raw: UnsafeMutablePointer<keel_call>

    // MARK: Errors, log, metrics

    /// Records an error; the first of a call wins.
    public func fail(_ code: PluginError.Code, _ text: String) {
        _ = keel_fail(raw, code.rawValue, text)
    }
    /// Writes a line to the run's log.
    public func log(_ text: String, warning: Bool = false) {
        keel_note(raw, Int32(warning ? KEEL_LOG_WARNING : KEEL_LOG_INFO), text)
    }
    /// Whether the run is stopping: return soon.
    public var isCancelled: Bool { keel_cancelled(raw) != 0 }

    func metric(_ name: String, _ tensor: Tensor, _ how: MetricKind) {
        keel_metric_t_as(raw, name, tensor.id, how.rawValue)
    }
    func metric(_ name: String, _ value: Double, _ how: MetricKind) {
        keel_metric_as(raw, name, value, how.rawValue)
    }

    // MARK: Parameters and facts

    func number(_ name: String) -> Double { keel_num(raw, name) }
    func string(_ name: String) -> String { Call.string(keel_string(raw, name)) ?? "" }
    func json(_ name: String) -> String { Call.string(keel_json(raw, name)) ?? "" }
    func list(_ name: String) -> [Double] {
        var count = 0
        guard let numbers = keel_list(raw, name, &count) else { return [] }
        return Array(UnsafeBufferPointer(start: numbers, count: count))
    }
    /// A fact of the run, as "step" or "eos_token_id" (`keel.h` lists them); NaN when unknown.
    public func fact(_ name: String) -> Double { keel_fact(raw, name) }
    /// The phase this call belongs to.
    public var phase: String { keel_phase_name(raw).map { String(cString: $0) } ?? "policy" }
    /// In `setup`: asks for one more column, by its name in the C interface; "name?" is optional.
    public func need(_ column: String) { _ = keel_need(raw, column) }
    /// In `setup`: chooses the reduction; `constant` is the denominator of `.constant`.
    public func reduce(_ reduction: Reduction, constant: Double = 0) {
        _ = keel_reduction(raw, reduction.rawValue, constant)
    }

    // MARK: Random numbers

    /// 64 bits, a pure function of the run's seed, this component, step or epoch, row and n.
    public func random(_ row: Int, _ n: UInt64) -> UInt64 { keel_random(raw, row, n) }
    /// A number in [0, 1), likewise.
    public func uniform(_ row: Int, _ n: UInt64) -> Double { keel_uniform(raw, row, n) }

    // MARK: Data

    /// The number of rows of the call.
    public var rows: Int { keel_rows(raw) }
    func text(_ column: String, _ row: Int) -> String? { Call.string(keel_text(raw, column, row)) }
    func bytes(_ column: String, _ row: Int) -> [UInt8]? {
        Call.buffer(keel_text(raw, column, row)).map(Array.init)
    }
    func field(_ pointer: String, _ row: Int) -> String? {
        Call.string(keel_field(raw, row, pointer))
    }
    func has(_ column: String) -> Bool { keel_has(raw, column) != 0 }
    func tokens(_ row: Int) -> (ids: [Int32], prompt: Int) {
        var prompt = 0
        var total = 0
        guard let ids = keel_tokens(raw, row, &prompt, &total) else { return ([], 0) }
        return (Array(UnsafeBufferPointer(start: ids, count: total)), prompt)
    }
    func column(_ name: String) throws -> Column {
        var array = keel_array()
        try check(keel_column(raw, name, &array), "column \(name)")
        let count = keel_cells(&array)
        let shape = (0..<Int(array.ndim)).map { Int(array.shape[$0]) }
        guard count > 0, let data = array.data else { return Column([], shape: shape) }
        if Int(array.code) == KEEL_INT {
            let cells = UnsafeBufferPointer(
                start: data.assumingMemoryBound(to: Int32.self), count: count)
            return Column(cells.map(Double.init), shape: shape)
        }
        let cells = UnsafeBufferPointer(
            start: data.assumingMemoryBound(to: Double.self), count: count)
        return Column(Array(cells), shape: shape)
    }
    /// One cell of a column of shape [rows]; nil when there is no such column.
    func cell(_ name: String, _ row: Int) -> Double? {
        var array = keel_array()
        guard has(name), keel_column(raw, name, &array) == KEEL_OK, array.ndim == 1,
            let data = array.data, row >= 0, row < Int(array.shape[0])
        else { return nil }
        return Int(array.code) == KEEL_INT
            ? Double(data.assumingMemoryBound(to: Int32.self)[row])
            : data.assumingMemoryBound(to: Double.self)[row]
    }
    func put(_ name: String, _ column: Column) throws {
        let shape = column.shape.map(Int64.init)
        guard column.values.count == column.shape.reduce(1, *) else {
            throw PluginError(
                .invalid, "column \(name): \(column.values.count) cells for shape \(column.shape)")
        }
        let status = column.values.withUnsafeBufferPointer { cells in
            shape.withUnsafeBufferPointer { lengths in
                var array = keel_array_f64(
                    cells.baseAddress, lengths.baseAddress, Int32(shape.count))
                return keel_put(raw, name, &array)
            }
        }
        try check(status, "column \(name)")
    }

    // MARK: Tensors

    func input(_ column: String) -> Tensor { Tensor(id: keel_in(raw, column), call: self) }
    func op(_ code: Int, _ inputs: [Tensor], _ constants: [Double]) -> Tensor {
        let ids = inputs.map(\.id)
        return Tensor(
            id: keel_op(raw, Int32(code), ids, ids.count, constants, constants.count), call: self)
    }
    func shape(of tensor: Tensor) -> [Int]? {
        var lengths = [Int64](repeating: 0, count: 8)
        let rank = keel_shape(raw, tensor.id, &lengths, lengths.count)
        return rank < 0 ? nil : lengths.prefix(Int(rank)).map(Int.init)
    }
    /// A constant tensor.
    public func constant(_ column: Column) -> Tensor {
        let shape = column.shape.map(Int64.init)
        let id = column.values.withUnsafeBufferPointer { cells in
            shape.withUnsafeBufferPointer { lengths in
                var array = keel_array_f64(
                    cells.baseAddress, lengths.baseAddress, Int32(shape.count))
                return keel_upload(raw, &array)
            }
        }
        return Tensor(id: id, call: self)
    }

    // MARK: Help

    /// Throws what the host has recorded already; the text is its own.
    private func check(_ status: keel_status, _ what: String) throws {
        guard status == KEEL_OK else {
            throw PluginError(
                PluginError.Code(rawValue: status) ?? .internalError, "\(what) was refused")
        }
    }
    private static func buffer(_ text: keel_str) -> UnsafeRawBufferPointer? {
        text.p.map { UnsafeRawBufferPointer(start: $0, count: text.n) }
    }
    private static func string(_ text: keel_str) -> String? {
        buffer(text).map { String(decoding: $0, as: UTF8.self) }
    }
    func write(_ bytes: [UInt8]) throws { try check(keel_write(raw, bytes, bytes.count), "state") }

    /// Runs a callback; what it throws becomes the call's error.
    func run<Result>(_ fallback: Result, _ body: () throws -> Result) -> Result {
        do { return try body() } catch let error as PluginError {
            fail(error.code, error.description)
        } catch {
            fail(.internalError, "\(error)")
        }
        return fallback
    }
}

// MARK: - Logits of one sequence

/// The logits of one sequence's next token, in f64, with the filters that `keel math warp_logits` shows.
///
/// Token ids are indices. -inf excludes a token; each filter works on what the earlier ones left.
public final class Logits {
    private var cells: [Double] = []
    private var order: [Int32] = []
    private var scratch: [Double] = []
    private var isChanged = false
    /// The call it belongs to.
    public private(set) var call: Call
    /// The row of the call.
    public private(set) var row = 0
    /// The token ids so far, prompt first.
    public lazy var context: [Int32] = tokens.ids
    /// How many of them belong to the prompt.
    public var promptLength: Int { tokens.prompt }
    private lazy var tokens = call.tokens(row)

    init(_ call: Call) { self.call = call }

    /// The size of the vocabulary.
    public var count: Int { cells.count }
    /// The logit of a token.
    public subscript(token: Int) -> Double {
        get { cells[token] }
        set { cells[token] = newValue; isChanged = true }
    }
    /// The likeliest token; the smallest id among equals.
    public var argmax: Int {
        cells.indices.reduce(0) { cells[$1] > cells[$0] ? $1 : $0 }
    }

    /// Each distinct token of the context once: l < 0 ? l · penalty : l / penalty.
    public func penalizeRepetition(_ penalty: Double) {
        edit {
            keel_math_repetition_penalty(&cells, count, context, context.count, penalty, &order)
        }
    }
    /// Excludes tokens that would complete an n-gram that is already in the context.
    public func banRepeatedNGrams(_ size: Int) {
        edit { keel_math_no_repeat_ngram(&cells, count, context, context.count, size) }
    }
    /// Keeps the k likeliest; ties at the threshold stay.
    public func keepTop(_ k: Int) { edit { keel_math_top_k(&cells, count, k, &order) } }
    /// Keeps the fewest tokens whose mass reaches p.
    public func keepNucleus(_ p: Double) {
        edit { keel_math_top_p(&cells, count, p, &order, &scratch) }
    }
    /// Excludes tokens less likely than p times the likeliest.
    public func dropBelowShare(_ p: Double) { edit { keel_math_min_p(&cells, count, p, &scratch) } }
    /// Keeps the tokens whose surprise is nearest the entropy, until their mass is reached.
    public func keepTypical(_ mass: Double) {
        edit { keel_math_typical_p(&cells, count, mass, &order, &scratch) }
    }
    /// Excludes tokens of a probability below epsilon.
    public func dropBelow(_ epsilon: Double) {
        edit { keel_math_epsilon_cutoff(&cells, count, epsilon, &scratch) }
    }
    /// Excludes tokens below min(epsilon, sqrt(epsilon) · e^-entropy).
    public func dropBelowEta(_ epsilon: Double) {
        edit { keel_math_eta_cutoff(&cells, count, epsilon, &scratch) }
    }

    private func edit(_ body: () -> Void) {
        body()
        isChanged = true
    }

    /// Takes the next row; one object serves all rows of an instance.
    fileprivate func load(_ call: Call, _ row: Int, _ logits: UnsafeBufferPointer<Float>) {
        (self.call, self.row, isChanged) = (call, row, false)
        if cells.count != logits.count {
            cells = [Double](repeating: 0, count: logits.count)
            order = [Int32](repeating: 0, count: logits.count)
            scratch = [Double](repeating: 0, count: 2 * logits.count)
        }
        for index in cells.indices { cells[index] = Double(logits[index]) }
        tokens = call.tokens(row)
        context = tokens.ids
    }
    fileprivate func store(_ logits: UnsafeMutableBufferPointer<Float>) {
        guard isChanged else { return }
        for index in cells.indices { logits[index] = Float(cells[index]) }
    }
}

// MARK: - Instances

/// A component at work: what the C callbacks find in `self`, so that they need no type.
class Instance {
    func prepare(_ call: Call) throws {}
    func loss(_ call: Call) throws -> keel_t { keel_t() }
    func score(_ call: Call, _ out: UnsafeMutableBufferPointer<Float>) throws {}
    func sample(_ call: Call, _ logits: keel_array, _ tokens: UnsafeMutablePointer<Int32>) throws {}
    func order(_ call: Call, _ epoch: Int, _ out: UnsafeMutableBufferPointer<Int64>) throws {}
    func save(_ call: Call) throws {}
    func load(_ bytes: [UInt8], _ version: UInt32) throws {}
}

/// An instance that holds a component of one type.
class Holder<C: Component>: Instance {
    var component: C

    init(_ call: Call) throws {
        component = C()
        for parameter in parameters(of: component) { parameter.read(call) }
        try component.setup(call)
    }

    override func prepare(_ call: Call) throws {
        guard var preparing = component as? any Preparing else { return }
        try preparing.prepare(Columns(call: call))
        if let component = preparing as? C { self.component = component }
    }
    override func save(_ call: Call) throws {
        if let stateful = component as? any Stateful { try call.write(try stateful.save()) }
    }
    override func load(_ bytes: [UInt8], _ version: UInt32) throws {
        guard var stateful = component as? any Stateful else { return }
        try stateful.load(bytes, version: version)
        if let component = stateful as? C { self.component = component }
    }
}

private final class ObjectiveHolder<O: Objective>: Holder<O> {
    override func loss(_ call: Call) throws -> keel_t { try component.loss(O.Batch(call)).id }
}

private final class RewardHolder<R: Reward>: Holder<R> {
    override func score(_ call: Call, _ out: UnsafeMutableBufferPointer<Float>) throws {
        for row in out.indices {
            if let score = try component.score(Sample(call: call, row: row)) {
                out[row] = Float(score)
            }
        }
    }
}

private final class GroupRewardHolder<R: GroupReward>: Holder<R> {
    override func score(_ call: Call, _ out: UnsafeMutableBufferPointer<Float>) throws {
        let scores = try component.score(out.indices.map { Sample(call: call, row: $0) })
        guard scores.count == out.count else {
            throw PluginError(.invalid, "\(scores.count) scores for \(out.count) rows")
        }
        for (row, score) in scores.enumerated() { if let score { out[row] = Float(score) } }
    }
}

private final class TokenSamplerHolder<S: TokenSampler>: Holder<S> {
    private var row: Logits?

    override func sample(
        _ call: Call, _ logits: keel_array, _ tokens: UnsafeMutablePointer<Int32>
    ) throws {
        guard logits.ndim == 2, let data = logits.data else {
            throw PluginError(.invalid, "logits without rows")
        }
        let vocabulary = Int(logits.shape[1])
        let row = self.row ?? Logits(call)
        self.row = row
        for index in 0..<Int(logits.shape[0]) {
            let cells = UnsafeMutableBufferPointer(
                start: data.assumingMemoryBound(to: Float.self) + index * vocabulary,
                count: vocabulary)
            row.load(call, index, UnsafeBufferPointer(cells))
            tokens[index] = try component.sample(row).map(Int32.init) ?? -1
            row.store(cells)
        }
    }
}

private final class DataSamplerHolder<S: DataSampler>: Holder<S> {
    override func order(_ call: Call, _ epoch: Int, _ out: UnsafeMutableBufferPointer<Int64>) throws
    {
        let rows = try component.order(
            Epoch(call: call, number: epoch, rows: call.rows, count: out.count))
        guard rows.count == out.count else {
            throw PluginError(.invalid, "\(rows.count) rows ordered, \(out.count) wanted")
        }
        for (index, row) in rows.enumerated() { out[index] = Int64(row) }
    }
}

// MARK: - Callbacks

private typealias Me = UnsafeMutableRawPointer?
private typealias RawCall = UnsafeMutablePointer<keel_call>?

/// Runs the body with the instance behind `self` and the call, or gives the fallback.
private func with<R>(
    _ me: Me, _ raw: RawCall, _ fallback: R, _ body: (Instance, Call) throws -> R
) -> R {
    guard let me, let raw else { return fallback }
    let call = Call(raw: raw)
    let instance = Unmanaged<Instance>.fromOpaque(me).takeUnretainedValue()
    return call.run(fallback) { try body(instance, call) }
}

/// The same for callbacks that answer with a status.
private func status(
    _ me: Me, _ raw: RawCall, _ body: (Instance, Call) throws -> Void
) -> keel_status {
    with(me, raw, keel_status(KEEL_E_INTERNAL)) { instance, call in
        try body(instance, call)
        return keel_status(KEEL_OK)
    }
}

/// How instances of one component are made; what its `user` pointer points to, for ever.
private final class Factory {
    let make: (Call) throws -> Instance
    init(_ make: @escaping (Call) throws -> Instance) { self.make = make }
}

private func create(_ raw: RawCall) -> Me {
    guard let raw, let user = keel_user(raw) else { return nil }
    let call = Call(raw: raw)
    let factory = Unmanaged<Factory>.fromOpaque(user).takeUnretainedValue()
    return call.run(nil) { Unmanaged.passRetained(try factory.make(call)).toOpaque() }
}

// MARK: - Descriptors

/// The description of one component, being filled in by `plugin(_:_:_:)`.
public final class Part {
    fileprivate var component = keel_component()

    fileprivate init<C: Component>(_ type: C.Type) {
        component.size = UInt32(MemoryLayout<keel_component>.size)
        component.name = immortal(C.name)
        component.help = immortal(C.help)
        let schemas = parameters(of: C()).map(\.schema)
        component.params = UnsafePointer(immortal(schemas.map(Part.parameter)))
        component.param_count = UInt32(schemas.count)
        component.param_stride = UInt32(MemoryLayout<keel_param>.stride)
        component.create = { create($0) }
        component.destroy = { me in
            if let me { Unmanaged<Instance>.fromOpaque(me).release() }
        }
        if let preparing = C.self as? any Preparing.Type {
            component.gives = names(preparing.gives)
            component.prepare = { me, raw in status(me, raw) { try $0.prepare($1) } }
        }
        if let stateful = C.self as? any Stateful.Type {
            component.state_version = stateful.stateVersion
            component.save = { me, raw in status(me, raw) { try $0.save($1) } }
            component.load = { me, raw, version, bytes, count in
                status(me, raw) { instance, _ in
                    try instance.load(
                        Array(UnsafeRawBufferPointer(start: bytes, count: count)), version)
                }
            }
        }
    }

    private static func parameter(_ schema: ParamSchema) -> keel_param {
        keel_param(
            name: immortal(schema.name), type: Int32(schema.type), reserved: 0,
            value: schema.number,
            min: schema.min, max: schema.max, text: schema.text.map(immortal) ?? nil,
            choices: schema.choices.isEmpty ? nil : names(schema.choices),
            help: immortal(schema.help))
    }

    private func begin(_ kind: Int, _ make: @escaping (Call) throws -> Instance) {
        component.kind = Int32(kind)
        component.user = UnsafeRawPointer(Unmanaged.passRetained(Factory(make)).toOpaque())
    }

    func objective<O: Objective>(_: O.Type) {
        begin(KEEL_KIND_OBJECTIVE) { try ObjectiveHolder<O>($0) }
        component.data = O.needs.data.isEmpty ? nil : immortal(O.needs.data)
        component.needs = names(O.needs.columns(pairs: O.Batch.self == Pairs.self))
        component.reduction = immortal(O.reduction.rawValue)
        component.flags = O.coupled ? UInt64(KEEL_COUPLED) : 0
        component.loss = { me, raw in with(me, raw, keel_t()) { try $0.loss($1) } }
    }

    func reward<R: Reward>(_: R.Type) {
        begin(KEEL_KIND_REWARD) { try RewardHolder<R>($0) }
        component.needs = names(R.needs)
        component.score = scoreThunk
    }

    func groupReward<R: GroupReward>(_: R.Type) {
        begin(KEEL_KIND_REWARD) { try GroupRewardHolder<R>($0) }
        component.needs = names(R.needs)
        component.flags = UInt64(KEEL_COUPLED)
        component.score = scoreThunk
    }

    func tokenSampler<S: TokenSampler>(_: S.Type) {
        begin(KEEL_KIND_TOKEN_SAMPLER) { try TokenSamplerHolder<S>($0) }
        component.sample = { me, raw, logits, _, tokens in
            status(me, raw) { instance, call in
                guard let logits, let tokens else { throw PluginError(.invalid, "no logits") }
                try instance.sample(call, logits.pointee, tokens)
            }
        }
    }

    func dataSampler<S: DataSampler>(_: S.Type) {
        begin(KEEL_KIND_DATA_SAMPLER) { try DataSamplerHolder<S>($0) }
        component.needs = names(S.needs)
        component.order = { me, raw, epoch, out, count in
            status(me, raw) {
                try $0.order($1, Int(epoch), UnsafeMutableBufferPointer(start: out, count: count))
            }
        }
    }
}

private let scoreThunk:
    @convention(c) (Me, RawCall, Int, UnsafeMutablePointer<Float>?) -> keel_status = {
        me, raw, count, out in
        status(me, raw) { try $0.score($1, UnsafeMutableBufferPointer(start: out, count: count)) }
    }

/// What `keel_plugin_v1` returns: the description of a plugin.
public typealias Entry = UnsafePointer<keel_plugin>?

/// The description of a plugin, for `keel_plugin_v1` to return; made at the first call and kept for ever.
///
///     @c(keel_plugin_v1) public func entry() -> Entry {
///         plugin("org.example.length", "1.0.0", Length.self)
///     }
public func plugin(
    _ id: String, _ version: String, _ components: any Component.Type...
) -> Entry {
    let address = made.withLock { made -> UInt in
        if let address = made[id] { return address }
        let list = components.map { type -> UnsafePointer<keel_component>? in
            let part = Part(type)
            type.describe(part)
            return UnsafePointer(immortal([part.component]))
        }
        let plugin = keel_plugin(
            size: UInt32(MemoryLayout<keel_plugin>.size), api: UInt32(KEEL_API), id: immortal(id),
            version: immortal(version), components: UnsafePointer(immortal(list + [nil])),
            query: nil)
        let address = UInt(bitPattern: immortal([plugin]))
        made[id] = address
        return address
    }
    return UnsafePointer(bitPattern: address)
}

/// The plugins described so far: where each stands, by id.
private let made = Mutex<[String: UInt]>([:])

// MARK: - Memory that is never freed: descriptors live as long as the process

private func immortal(_ text: String) -> UnsafePointer<CChar>? { UnsafePointer(strdup(text)) }

private func immortal<T>(_ items: [T]) -> UnsafeMutablePointer<T> {
    let memory = UnsafeMutablePointer<T>.allocate(capacity: Swift.max(items.count, 1))
    memory.initialize(from: items, count: items.count)
    return memory
}

private func names(_ list: [String]) -> UnsafePointer<keel_name?>? {
    UnsafePointer(immortal(list.map { immortal($0) } + [nil]))
}
