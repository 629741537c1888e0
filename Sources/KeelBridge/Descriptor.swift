import CKeel
import Glibc
import KeelCore

/// The callbacks of one component, next to the host's copy of its description.
struct LoadedComponent: @unchecked Sendable {
    var component: Component
    var raw: keel_component
    var phases: [String: keel_phase]
    /// The plugin's own tables of optional areas, by component and id.
    var query: (@convention(c) (UnsafePointer<CChar>?, UnsafePointer<CChar>?) -> UnsafeRawPointer?)?

    /// The component's table of an optional area, or nil; the plugin's for ever, and begins with its size.
    func table(_ id: String) -> UnsafeRawPointer? { query?(component.name, id) }
}

/// Copies what a plugin describes into structs of the host, checks it, and never reads it again.
///
/// A struct shorter than the host's leaves the missing fields zero, a longer one loses its tail.
struct DescriptorReader {
    let path: String
    let sha256: String
    private(set) var errors: [KeelError] = []

    init(path: String, sha256: String) {
        self.path = path
        self.sha256 = sha256
    }

    /// Reads all components of a plugin.
    ///
    /// - Throws: `KeelError` or `KeelErrors` (unavailable) that name the field and the file.
    mutating func read(_ plugin: UnsafePointer<keel_plugin>) throws -> [LoadedComponent] {
        guard let raw: keel_plugin = copy(UnsafeRawPointer(plugin), what: "the plugin descriptor")
        else {
            throw KeelErrors(errors).errors[0]
        }
        let id = string(raw.id, "the plugin's id") ?? ""
        let shownID = id.isEmpty ? Files.name(path) : id
        guard raw.api <= UInt32(HostTable.minor) else {
            throw KeelError(
                "plugin",
                "plugin \"\(shownID)\" asks for minor \(raw.api) of the plugin contract, this Keel offers minor \(HostTable.minor)",
                at: path,
                fix: "use a newer Keel, or build the plugin with KEEL_API \(HostTable.minor)",
                code: .unavailable)
        }
        if id.isEmpty || !id.utf8.allSatisfy({ DescriptorReader.isIDByte($0) }) {
            fail("the plugin's id \"\(id)\" is not made of letters, digits, '.', '_' and '-'")
        }
        let version = string(raw.version, "the plugin's version") ?? ""
        if version.isEmpty { fail("the plugin has no version") }
        var loaded: [LoadedComponent] = []
        if let list = raw.components {
            var index = 0
            while let pointer = list[index], index < 1024 {
                if var one = component(pointer, index, id: id, version: version, api: Int(raw.api))
                {
                    one.query = raw.query
                    if loaded.contains(where: { $0.component.name == one.component.name }) {
                        fail("two components are called \"\(one.component.name)\"")
                    }
                    loaded.append(one)
                }
                index += 1
            }
        }
        if loaded.isEmpty, errors.isEmpty { fail("the plugin holds no component") }
        try KeelErrors(errors).throwIfAny()
        return loaded
    }

    private mutating func fail(_ what: String, fix: String? = nil) {
        errors.append(KeelError("plugin", what, at: path, fix: fix, code: .unavailable))
    }

    private static func isIDByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"),
            UInt8(ascii: "-"):
            true
        default: false
        }
    }

    private static func isName(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy {
                switch $0 {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                    UInt8(ascii: "_"):
                    true
                default: false
                }
            }
    }

    /// A struct that begins with its size, in the host's layout.
    private mutating func copy<T>(_ pointer: UnsafeRawPointer, what: String) -> T? {
        let size = Int(pointer.loadUnaligned(as: UInt32.self))
        guard size >= 16, size <= 1 << 16 else {
            fail(
                "\(what) says that it is \(size) bytes long",
                fix: "set its first field to sizeof the struct")
            return nil
        }
        return DescriptorReader.padded(pointer, size)
    }

    /// The first `size` bytes as a `T`, the rest zero.
    private static func padded<T>(_ pointer: UnsafeRawPointer, _ size: Int) -> T {
        withUnsafeTemporaryAllocation(
            byteCount: MemoryLayout<T>.size, alignment: MemoryLayout<T>.alignment
        ) {
            $0.initializeMemory(as: UInt8.self, repeating: 0)
            $0.copyMemory(from: UnsafeRawBufferPointer(start: pointer, count: min(size, $0.count)))
            return $0.load(as: T.self)
        }
    }

    private mutating func string(_ pointer: UnsafePointer<CChar>?, _ what: String) -> String? {
        guard let pointer else { return nil }
        let count = strnlen(pointer, 1 << 16)
        guard count < 1 << 16 else {
            fail("\(what) is longer than 64 KiB")
            return nil
        }
        let bytes = UnsafeRawBufferPointer(start: pointer, count: count)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            fail("\(what) is not UTF-8")
            return nil
        }
        return text
    }

    private mutating func strings(
        _ list: UnsafePointer<keel_name?>?, _ what: String
    ) -> [String] {
        guard let list else { return [] }
        var out: [String] = []
        var index = 0
        while let pointer = list[index], index < 4096 {
            if let text = string(pointer, what) { out.append(text) }
            index += 1
        }
        return out
    }

    private mutating func component(
        _ pointer: UnsafePointer<keel_component>, _ index: Int, id: String, version: String,
        api: Int
    ) -> LoadedComponent? {
        let before = errors.count
        guard let raw: keel_component = copy(UnsafeRawPointer(pointer), what: "component \(index)")
        else { return nil }
        let name = string(raw.name, "the name of component \(index)") ?? ""
        guard DescriptorReader.isName(name) else {
            fail("component \(index) is called \"\(name)\": a name is made of a-z, 0-9 and _")
            return nil
        }
        guard let kind = ComponentKind(code: raw.kind) else {
            fail("component \"\(name)\" is of kind \(raw.kind), which this Keel does not know")
            return nil
        }
        let owner = "\(kind.words) \"\(name)\""
        let parameters = self.parameters(raw, owner)
        let flags = ComponentFlags(rawValue: raw.flags)
        let data = string(raw.data, "\(owner): data")
        let reduction = reductionName(raw.reduction, owner)
        let needs = strings(raw.needs, "\(owner): needs")
        var callbacks: [String] = []
        if raw.create != nil { callbacks.append("create") }
        if raw.save != nil { callbacks.append("save") }
        if raw.load != nil { callbacks.append("load") }
        if raw.prepare != nil { callbacks.append("prepare") }
        if raw.feedback != nil { callbacks.append("feedback") }
        if raw.ask != nil { callbacks.append("ask") }
        if (raw.save != nil) != (raw.load != nil) {
            fail(
                "\(owner) has only one of save and load",
                fix: "give both, or none for a stateless component")
        }
        var phases: [Phase] = []
        var rawPhases: [String: keel_phase] = [:]
        if kind == .objective {
            (phases, rawPhases) = self.phases(raw, owner, parameters: parameters.map(\.name))
            if phases.isEmpty {
                phases = [
                    Phase(
                        name: "policy", data: data, needs: needs, trains: ["policy"],
                        reduction: reduction,
                        flags: flags.intersection(.prepareDataset), hasPrepare: raw.prepare != nil)
                ]
            }
            checkData(data, owner)
        }
        let hasMain =
            switch kind {
            case .reward: raw.score != nil
            case .objective:
                raw.loss != nil
                    || (!rawPhases.isEmpty && rawPhases.values.allSatisfy { $0.loss != nil })
            case .tokenSampler: raw.sample != nil
            case .dataSampler: raw.order != nil
            }
        if !hasMain {
            let main =
                [
                    .reward: "score", .objective: "loss", .tokenSampler: "sample",
                    .dataSampler: "order",
                ][kind] ?? ""
            fail("\(owner) has no `\(main)` callback")
        }
        if raw.seq_bytes > 1 << 20 {
            fail("\(owner) asks for \(raw.seq_bytes) bytes per sequence, more than 1 MiB")
        }
        let component = Component(
            kind: kind, name: name, help: string(raw.help, "\(owner): help") ?? "", data: data,
            needs: needs,
            gives: strings(raw.gives, "\(owner): gives"),
            heads: strings(raw.heads, "\(owner): heads"),
            reduction: reduction, parameters: parameters, phases: phases, flags: flags,
            sequenceBytes: Int(raw.seq_bytes), stateVersion: raw.state_version,
            callbacks: callbacks, pluginID: id,
            pluginVersion: version, api: api, path: path, sha256: sha256)
        return errors.count == before
            ? LoadedComponent(component: component, raw: raw, phases: rawPhases) : nil
    }

    private mutating func checkData(_ data: String?, _ owner: String) {
        let known = Component.dataKinds
        guard let data else {
            return fail(
                "\(owner) names no data kind", fix: "known: \(known.joined(separator: ", "))")
        }
        if !known.contains(data) {
            fail(
                "\(owner) wants data of kind \"\(data)\"",
                fix: "known: \(known.joined(separator: ", "))")
        }
    }

    private mutating func reductionName(
        _ pointer: UnsafePointer<CChar>?, _ owner: String
    ) -> String? {
        guard let name = string(pointer, "\(owner): reduction") else { return nil }
        if Reduction(rawValue: name) == nil {
            fail(
                "\(owner) wants the reduction \"\(name)\"",
                fix: "known: \(Reduction.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        return name
    }

    private mutating func phases(
        _ raw: keel_component, _ owner: String, parameters: [String]
    ) -> ([Phase], [String: keel_phase]) {
        guard let start = raw.phases, raw.phase_count > 0 else { return ([], [:]) }
        guard raw.phase_stride >= 16, raw.phase_count <= 64 else {
            fail("\(owner): phase_stride is \(raw.phase_stride), phase_count \(raw.phase_count)")
            return ([], [:])
        }
        var phases: [Phase] = []
        var rawPhases: [String: keel_phase] = [:]
        for index in 0..<Int(raw.phase_count) {
            let item: keel_phase = DescriptorReader.padded(
                UnsafeRawPointer(start) + index * Int(raw.phase_stride), Int(raw.phase_stride))
            let name = string(item.name, "\(owner): a phase's name") ?? ""
            if !DescriptorReader.isName(name) || rawPhases[name] != nil {
                fail(
                    "\(owner): phase \(index) is called \"\(name)\"; names are unique and made of a-z, 0-9 and _"
                )
                continue
            }
            let epochs = string(item.epochs, "\(owner): epochs")
            let steps = string(item.steps, "\(owner): steps")
            for length in [epochs, steps].compactMap(\.self) where !parameters.contains(length) {
                fail(
                    "\(owner): the length of phase \"\(name)\" is the parameter \"\(length)\", which is not declared"
                )
            }
            let data =
                string(item.data, "\(owner): a phase's data") ?? string(raw.data, "\(owner): data")
            checkData(data, "\(owner), phase \"\(name)\"")
            let trains = strings(item.trains, "\(owner): trains")
            phases.append(
                Phase(
                    name: name, data: data,
                    needs: item.needs == nil
                        ? strings(raw.needs, "\(owner): needs")
                        : strings(item.needs, "\(owner): a phase's needs"),
                    trains: trains.isEmpty ? ["policy"] : trains,
                    reduction: reductionName(item.reduction, owner)
                        ?? reductionName(raw.reduction, owner),
                    epochs: epochs, steps: steps, flags: ComponentFlags(rawValue: item.flags),
                    hasPrepare: item.prepare != nil || raw.prepare != nil))
            rawPhases[name] = item
        }
        return (phases, rawPhases)
    }

    private mutating func parameters(_ raw: keel_component, _ owner: String) -> [Parameter] {
        guard let start = raw.params, raw.param_count > 0 else { return [] }
        guard raw.param_stride >= 16, raw.param_count <= 4096 else {
            fail("\(owner): param_stride is \(raw.param_stride), param_count \(raw.param_count)")
            return []
        }
        var out: [Parameter] = []
        for index in 0..<Int(raw.param_count) {
            let item: keel_param = DescriptorReader.padded(
                UnsafeRawPointer(start) + index * Int(raw.param_stride), Int(raw.param_stride))
            guard let one = parameter(item, index, owner) else { continue }
            if out.contains(where: { $0.name == one.name }) {
                fail("\(owner) declares the parameter \"\(one.name)\" twice")
            }
            out.append(one)
        }
        return out
    }

    private mutating func parameter(_ raw: keel_param, _ index: Int, _ owner: String) -> Parameter?
    {
        let name = string(raw.name, "\(owner): the name of parameter \(index)") ?? ""
        guard DescriptorReader.isName(name) else {
            fail(
                "\(owner): parameter \(index) is called \"\(name)\": a name is made of a-z, 0-9 and _"
            )
            return nil
        }
        let what = "\(owner): parameter \"\(name)\""
        let text = string(raw.text, "\(what): default")
        let choices = strings(raw.choices, "\(what): choices")
        let kinds: [Int32: Parameter.Kind] = [
            1: .number, 2: .integer, 3: .bool, 4: .string, 5: .choice, 6: .numbers, 7: .json,
        ]
        guard let kind = kinds[raw.type] else {
            fail("\(what) is of type \(raw.type), which this Keel does not know")
            return nil
        }
        var fallback: JSON
        switch kind {
        case .number: fallback = .double(raw.value)
        case .integer:
            guard let whole = Int64(exactly: raw.value) else {
                fail("\(what): the default \(raw.value) is not an integer")
                return nil
            }
            fallback = .int(whole)
        case .bool: fallback = .bool(raw.value != 0)
        case .string, .choice: fallback = .string(text ?? "")
        case .numbers, .json:
            guard let value = try? JSON.parse(text ?? (kind == .json ? "null" : "[]"), name: what)
            else {
                fail("\(what): the default `\(text ?? "")` is not JSON")
                return nil
            }
            fallback = value
        }
        if kind == .choice, choices.isEmpty || Set(choices).count != choices.count {
            fail("\(what): the choices are missing or not unique")
            return nil
        }
        var range: ClosedRange<Double>?
        if raw.min != 0 || raw.max != 0 {
            guard raw.min <= raw.max else {
                fail("\(what): the range \(raw.min) ... \(raw.max) is empty")
                return nil
            }
            if [.number, .integer, .numbers].contains(kind) { range = raw.min...raw.max }
        }
        let parameter = Parameter(
            name: name, kind: kind, fallback: fallback, range: range, choices: choices,
            help: string(raw.help, "\(what): help") ?? "")
        do {
            var checked = parameter
            checked.fallback = try parameter.checked(fallback, owner: owner, place: nil)
            return checked
        } catch {
            fail("\(what): the default \(fallback.text()) is not allowed by its own declaration")
            return nil
        }
    }
}
