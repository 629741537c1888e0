// The C callbacks, and the descriptors that point to them.
import CKeel
import Glibc
import Synchronization

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

private func prepare(_ me: Me, _ raw: RawCall) -> keel_status {
    status(me, raw) { try $0.prepare($1) }
}

private func loss(_ me: Me, _ raw: RawCall) -> keel_t {
    with(me, raw, keel_t()) { try $0.loss($1) }
}

private func score(
    _ me: Me, _ raw: RawCall, _ count: Int, _ out: UnsafeMutablePointer<Float>?
) -> keel_status {
    status(me, raw) { try $0.score($1, UnsafeMutableBufferPointer(start: out, count: count)) }
}

// MARK: - Descriptors

/// The description of one component, being filled in by `plugin(_:_:_:)`.
public final class Part {
    fileprivate var component = keel_component()

    fileprivate init<C: Component>(_ type: C.Type) {
        component.size = UInt32(MemoryLayout<keel_component>.size)
        component.name = immortal(C.name)
        component.help = immortal(C.help)
        component.flags = C.isNondeterministic ? UInt64(KEEL_NONDETERMINISTIC) : 0
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
            component.prepare = { prepare($0, $1) }
            if preparing.scope == .dataset { component.flags |= UInt64(KEEL_PREPARE_DATASET) }
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

    private static func phase(_ phase: Phase) -> keel_phase {
        keel_phase(
            name: immortal(phase.name),
            data: phase.needs.data.isEmpty ? nil : immortal(phase.needs.data),
            needs: phase.needs.columns.isEmpty ? nil : names(phase.needs.columns),
            trains: names(phase.trains.map(\.rawValue)),
            reduction: phase.reduction.map { immortal($0.rawValue) } ?? nil,
            epochs: phase.epochs.map(immortal) ?? nil, steps: phase.steps.map(immortal) ?? nil,
            flags: phase.prepares == .dataset ? UInt64(KEEL_PREPARE_DATASET) : 0, prepare: nil,
            loss: nil)
    }

    private func begin(_ kind: Int, _ make: @escaping (Call) throws -> Instance) {
        component.kind = Int32(kind)
        component.user = UnsafeRawPointer(Unmanaged.passRetained(Factory(make)).toOpaque())
    }

    private func learn<O: Learner>(_: O.Type) {
        let data = [O.needs.data] + O.phases.map(\.needs.data)
        component.data = data.first { !$0.isEmpty }.map(immortal) ?? nil
        component.needs = names(O.needs.columns)
        component.heads = names(O.heads.map(\.rawValue))
        component.reduction = immortal(O.reduction.rawValue)
        component.phases = UnsafePointer(immortal(O.phases.map(Part.phase)))
        component.phase_count = UInt32(O.phases.count)
        component.phase_stride = UInt32(MemoryLayout<keel_phase>.stride)
        if O.coupled { component.flags |= UInt64(KEEL_COUPLED) }
        if O.isLinear { component.flags |= UInt64(KEEL_LINEAR) }
        component.loss = { loss($0, $1) }
    }

    func objective<O: Objective>(_ type: O.Type) {
        begin(KEEL_KIND_OBJECTIVE) { try ObjectiveHolder<O>($0) }
        learn(type)
    }

    func explicitObjective<O: ExplicitObjective>(_ type: O.Type) {
        begin(KEEL_KIND_OBJECTIVE) { try ExplicitObjectiveHolder<O>($0) }
        learn(type)
        component.flags |= UInt64(KEEL_EXPLICIT_GRAD)
    }

    private func scores<C: Component>(_: C.Type, _ needs: [String]) {
        component.needs = names(needs)
        component.score = { score($0, $1, $2, $3) }
        if C.self is any Asking.Type {
            component.ask = { me, raw, count in status(me, raw) { try $0.ask($1, count) } }
        }
    }

    func reward<R: Reward>(_ type: R.Type) {
        begin(KEEL_KIND_REWARD) { try RewardHolder<R>($0) }
        scores(type, R.needs)
        if R.self is any TokenRewarding.Type { component.gives = names(["token_rewards"]) }
        if R.isParallel { component.flags |= UInt64(KEEL_PARALLEL) }
    }

    func groupReward<R: GroupReward>(_ type: R.Type) {
        begin(KEEL_KIND_REWARD) { try GroupRewardHolder<R>($0) }
        scores(type, R.needs)
        component.flags |= UInt64(KEEL_COUPLED)
    }

    private func samples() {
        component.sample = { me, raw, logits, memory, tokens in
            status(me, raw) { instance, call in
                guard let logits, let tokens else { throw PluginError(.invalid, "no logits") }
                try instance.sample(call, logits.pointee, memory, tokens)
            }
        }
    }

    func tokenSampler<S: TokenSampler>(_: S.Type) {
        begin(KEEL_KIND_TOKEN_SAMPLER) { try TokenSamplerHolder<S>($0) }
        samples()
    }

    func rememberingTokenSampler<S: RememberingTokenSampler>(_: S.Type) {
        begin(KEEL_KIND_TOKEN_SAMPLER) { try RememberingSamplerHolder<S>($0) }
        component.seq_bytes = UInt32(MemoryLayout<S.Memory>.size)
        samples()
    }

    func dataSampler<S: DataSampler>(_: S.Type) {
        begin(KEEL_KIND_DATA_SAMPLER) { try DataSamplerHolder<S>($0) }
        component.needs = names(S.needs)
        component.order = { me, raw, epoch, out, count in
            status(me, raw) {
                try $0.order($1, Int(epoch), UnsafeMutableBufferPointer(start: out, count: count))
            }
        }
        guard S.self is any Learning.Type else { return }
        component.feedback = { me, raw, rows, count in
            status(me, raw) {
                try $0.feedback(
                    $1, UnsafeBufferPointer(start: rows, count: count).map(Int.init))
            }
        }
    }
}

/// A component with tables of its own for optional areas of the contract, "x.my-area/1".
public protocol Extending: Component {
    /// The table of an area, which begins with its size as a `UInt32` and is never freed; nil when unknown.
    static func table(_ id: String) -> UnsafeRawPointer?
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
        if let known = made.plugins[id] { return known }
        let list = components.map { type -> UnsafePointer<keel_component>? in
            let part = Part(type)
            type.describe(part)
            return UnsafePointer(immortal([part.component]))
        }
        let extending = components.compactMap { $0 as? any Extending.Type }
        made.extending += extending
        let plugin = keel_plugin(
            size: UInt32(MemoryLayout<keel_plugin>.size), api: UInt32(KEEL_API), id: immortal(id),
            version: immortal(version), components: UnsafePointer(immortal(list + [nil])),
            query: extending.isEmpty ? nil : { query($0, $1) })
        let address = UInt(bitPattern: immortal([plugin]))
        made.plugins[id] = address
        return address
    }
    return UnsafePointer(bitPattern: address)
}

private func query(
    _ component: UnsafePointer<CChar>?, _ id: UnsafePointer<CChar>?
) -> UnsafeRawPointer? {
    guard let component, let id else { return nil }
    let name = String(cString: component)
    let type = made.withLock { made in made.extending.first { $0.name == name } }
    return type?.table(String(cString: id))
}

/// What has been described so far: where each plugin stands, by id.
private struct Made {
    var plugins: [String: UInt] = [:]
    var extending: [any Extending.Type] = []
}
private let made = Mutex(Made())

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
