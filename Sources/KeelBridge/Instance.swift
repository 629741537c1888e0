import CKeel
import KeelCore

/// A component at work: its parameters, its own memory, its life from create to destroy.
///
/// Callbacks of one instance never overlap; the owner sees to that.
package final class Instance: @unchecked Sendable {
    package let component: Component
    /// What the run calls it; metrics and random numbers depend on it.
    package let name: String
    package let seed: UInt64
    let parameters: ParameterStore
    let raw: keel_component
    let rawPhases: [String: keel_phase]
    /// Columns that `create` asked for, beyond those of the descriptor.
    private(set) var extraNeeds: [String] = []
    /// The kind of data that `create` chose; nil = the component's.
    private(set) var chosenData: String?
    /// The reduction that `create` chose, and its constant.
    private(set) var chosenReduction: (Reduction, Double)?
    private var memory: UnsafeMutableRawPointer?
    private var needsDestroy = false
    /// What watchers call it.
    let shown: ActiveCalls.Names
    private let logger: ComponentLog

    /// Loads the plugin and creates the instance.
    ///
    /// - Throws: `KeelError` (unavailable) when the file cannot be loaded, (config) when `create` refuses.
    package init(
        _ component: Component, catalog: PluginCatalog, parameters: ParameterValues,
        name: String? = nil,
        seed: UInt64 = 0, context: CallContext = CallContext()
    ) throws {
        let loaded = try catalog.load(component)
        self.component = component
        self.name = name ?? component.name
        self.seed = seed
        logger = ComponentLog(name: self.name)
        self.parameters = ParameterStore(component: loaded.component, values: parameters)
        shown = ActiveCalls.Names(
            component: component.title(as: self.name), path: component.path)
        raw = loaded.raw
        rawPhases = loaded.phases
        guard let create = raw.create else { return }
        let call = Call(self, .create, batch: ColumnBatch(rows: 0), context: context)
        let made = create(call.pointer)
        memory = made
        needsDestroy = made != nil
        try call.finish()
        needsDestroy = true
        extraNeeds = call.extraNeeds
        chosenData = call.chosenData
        chosenReduction = call.chosenReduction
    }

    deinit {
        // What `create` made is destroyed, also when it refused after making it.
        guard needsDestroy, let destroy = raw.destroy else { return }
        let place = ActiveCalls.enter(shown, "destroy", step: nil)
        destroy(memory)
        ActiveCalls.leave(place)
    }

    /// What `create` returned.
    var own: UnsafeMutableRawPointer? { memory }

    var user: UnsafeRawPointer? { raw.user }

    /// `reward "polite" (length)`, for messages.
    package var title: String { component.title(as: name) }

    /// Columns that a phase needs; a name that ends in `?` is used when it is there.
    package func needs(phase: String) -> [String] {
        let declared = component.phase(phase)?.needs ?? component.needs
        return declared + extraNeeds.filter { !declared.contains($0) }
    }

    /// Names a callback may ask for.
    func readable(phase: String) -> Set<String> {
        let names = needs(phase: phase) + component.needs + component.gives
        return Set(names.map { $0.hasSuffix("?") ? String($0.dropLast()) : $0 })
    }

    func log(level: Int, _ text: String) { logger.write(level: level, text) }

    // MARK: - State

    /// The state of an instance between steps.
    package struct State: Sendable, Equatable {
        package var version: UInt32
        package var bytes: [UInt8]

        package init(version: UInt32, bytes: [UInt8]) {
            self.version = version
            self.bytes = bytes
        }
    }

    /// The state, or nil for a component without any.
    package func save(context: CallContext = CallContext()) throws -> State? {
        guard let save = raw.save else { return nil }
        let call = Call(self, .save, batch: ColumnBatch(rows: 0), context: context)
        try call.finish(save(memory, call.pointer))
        return State(version: component.stateVersion, bytes: call.written)
    }

    /// Restores a state; the instance must be fresh.
    package func load(_ state: State, context: CallContext = CallContext()) throws {
        guard let load = raw.load else {
            throw Instance.noState(title, state, at: component.path)
        }
        let call = Call(self, .load, batch: ColumnBatch(rows: 0), context: context)
        let status = state.bytes.withUnsafeBytes {
            load(memory, call.pointer, state.version, $0.baseAddress, $0.count)
        }
        try call.finish(status)
    }

    /// A checkpoint holds what the component cannot take.
    static func noState(_ title: String, _ state: State, at path: String) -> KeelError {
        KeelError(
            "plugin",
            "\(title) has no state, but the checkpoint holds one of \(state.bytes.count) bytes",
            at: path, fix: "use the plugin that wrote the checkpoint", code: .config)
    }
}
