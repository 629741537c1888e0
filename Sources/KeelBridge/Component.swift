import KeelCore

/// The four things a plugin can be.
package enum ComponentKind: String, Sendable, CaseIterable {
    case reward
    case objective
    case tokenSampler = "token_sampler"
    case dataSampler = "data_sampler"

    /// As a sentence says it: "token sampler".
    package var words: String {
        switch self {
        case .reward: "reward"
        case .objective: "objective"
        case .tokenSampler: "token sampler"
        case .dataSampler: "data sampler"
        }
    }

    /// The number of the contract.
    var code: Int32 {
        switch self {
        case .reward: 1
        case .objective: 2
        case .tokenSampler: 3
        case .dataSampler: 4
        }
    }

    init?(code: Int32) {
        switch code {
        case 1: self = .reward
        case 2: self = .objective
        case 3: self = .tokenSampler
        case 4: self = .dataSampler
        default: return nil
        }
    }
}

/// What a component says about itself, bit by bit as in `keel.h`.
package struct ComponentFlags: OptionSet, Sendable, Hashable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    package static let parallel = ComponentFlags(rawValue: 1)
    package static let coupled = ComponentFlags(rawValue: 2)
    package static let nondeterministic = ComponentFlags(rawValue: 4)
    package static let explicitGradient = ComponentFlags(rawValue: 8)
    package static let linear = ComponentFlags(rawValue: 16)
    package static let prepareDataset = ComponentFlags(rawValue: 32)

    static let names: [(ComponentFlags, String)] = [
        (.parallel, "parallel"), (.coupled, "coupled"), (.nondeterministic, "nondeterministic"),
        (.explicitGradient, "explicit_grad"), (.linear, "linear"),
        (.prepareDataset, "prepare_dataset"),
    ]

    /// The names of the bits that are set.
    package var list: [String] { ComponentFlags.names.filter { contains($0.0) }.map(\.1) }
}

/// A part of the training with its own loss.
package struct Phase: Sendable, Equatable {
    package var name: String
    package var data: String?
    package var needs: [String]
    /// `policy`, `critic`, `value_head`, `reward_head`.
    package var trains: [String]
    package var reduction: String?
    /// The parameter that holds the number of epochs, or of steps.
    package var epochs: String?
    package var steps: String?
    package var flags: ComponentFlags
    package var hasPrepare: Bool
}

/// One component of a plugin file: the host's own copy of its descriptor.
package struct Component: Sendable, Equatable {
    package var kind: ComponentKind
    package var name: String
    package var help: String
    /// Objectives: `text`, `pairs`, `ranked`, `scored`, `unpaired` or `rollouts`.
    package var data: String?
    /// Columns that must be there; a name that ends in `?` is used when it is.
    package var needs: [String]
    package var gives: [String]
    package var heads: [String]
    package var reduction: String?
    package var parameters: [Parameter]
    /// Never empty for an objective: one phase called `policy` where none is declared.
    package var phases: [Phase]
    package var flags: ComponentFlags
    /// Token samplers: bytes of memory that travel with each sequence.
    package var sequenceBytes: Int
    package var stateVersion: UInt32
    /// The optional callbacks that are there: `save`, `prepare`, `feedback`, `ask` ...
    package var callbacks: [String]
    package var pluginID: String
    package var pluginVersion: String
    /// The minor of the contract that the plugin asks for.
    package var api: Int
    package var path: String
    /// The hash of the file.
    package var sha256: String
    /// True when the file lies in one of Keel's own folders.
    package var isBuiltIn = false
    /// Set for a C function that knows nothing of Keel, which stands in `path`.
    package var native: NativeFunction?

    /// What objectives may take.
    package static let dataKinds = ["text", "pairs", "ranked", "scored", "unpaired", "rollouts"]

    /// `objective "dpo"`, for messages.
    package var title: String { "\(kind.words) \"\(name)\"" }

    /// `reward "polite" (length)`, for messages about an instance that has a name of its own.
    package func title(as name: String) -> String {
        name == self.name ? title : "\(kind.words) \"\(name)\" (\(self.name))"
    }

    package func phase(_ name: String) -> Phase? { phases.first { $0.name == name } }

    package func hasCallback(_ name: String) -> Bool { callbacks.contains(name) }
}

// MARK: - As JSON, for the cache and for `plugin info --json`

extension Component {
    package var json: JSON {
        var object: JSONObject = [
            "kind": .string(kind.rawValue), "name": .string(name), "help": .string(help),
            "plugin": .string(pluginID), "version": .string(pluginVersion), "api": JSON(api),
            "path": .string(path), "sha256": .string(sha256),
        ]
        if let data { object["data"] = .string(data) }
        object["needs"] = .strings(needs)
        object["gives"] = .strings(gives)
        object["heads"] = .strings(heads)
        if let reduction { object["reduction"] = .string(reduction) }
        object["flags"] = .strings(flags.list)
        object["parameters"] = .array(parameters.map(\.json))
        object["phases"] = .array(phases.map(\.json))
        object["callbacks"] = .strings(callbacks)
        object["sequence_bytes"] = JSON(sequenceBytes)
        object["state_version"] = .int(Int64(stateVersion))
        return .object(object)
    }

    /// The inverse of `json`; nil when the text was not written by this version of Keel.
    init?(json: JSON) {
        guard let kind = json["kind"]?.string.flatMap(ComponentKind.init),
            let name = json["name"]?.string,
            let help = json["help"]?.string, let plugin = json["plugin"]?.string,
            let version = json["version"]?.string, let api = json["api"]?.int,
            let path = json["path"]?.string,
            let sha256 = json["sha256"]?.string, let parameters = json["parameters"]?.array,
            let phases = json["phases"]?.array, let bytes = json["sequence_bytes"]?.int,
            let state = json["state_version"]?.int
        else { return nil }
        let readParameters = parameters.compactMap(Parameter.init(json:))
        let readPhases = phases.compactMap(Phase.init(json:))
        guard readParameters.count == parameters.count, readPhases.count == phases.count else {
            return nil
        }
        self.init(
            kind: kind, name: name, help: help, data: json["data"]?.string,
            needs: json["needs"].strings,
            gives: json["gives"].strings, heads: json["heads"].strings,
            reduction: json["reduction"]?.string,
            parameters: readParameters, phases: readPhases,
            flags: ComponentFlags(list: json["flags"].strings),
            sequenceBytes: bytes, stateVersion: UInt32(truncatingIfNeeded: state),
            callbacks: json["callbacks"].strings, pluginID: plugin, pluginVersion: version,
            api: api, path: path,
            sha256: sha256)
    }
}

extension Phase {
    var json: JSON {
        var object: JSONObject = ["name": .string(name)]
        if let data { object["data"] = .string(data) }
        object["needs"] = .strings(needs)
        object["trains"] = .strings(trains)
        if let reduction { object["reduction"] = .string(reduction) }
        if let epochs { object["epochs"] = .string(epochs) }
        if let steps { object["steps"] = .string(steps) }
        object["flags"] = .strings(flags.list)
        object["prepare"] = .bool(hasPrepare)
        return .object(object)
    }

    init?(json: JSON) {
        guard let name = json["name"]?.string, let hasPrepare = json["prepare"]?.bool else {
            return nil
        }
        self.init(
            name: name, data: json["data"]?.string, needs: json["needs"].strings,
            trains: json["trains"].strings,
            reduction: json["reduction"]?.string, epochs: json["epochs"]?.string,
            steps: json["steps"]?.string,
            flags: ComponentFlags(list: json["flags"].strings), hasPrepare: hasPrepare)
    }
}

extension ComponentFlags {
    init(list: [String]) {
        self = ComponentFlags(ComponentFlags.names.filter { list.contains($0.1) }.map(\.0))
    }
}

extension JSON {
    static func strings(_ list: [String]) -> JSON { .array(list.map(JSON.string)) }
}

extension JSON? {
    /// The strings of a list; empty for anything else.
    var strings: [String] { self?.array?.compactMap(\.string) ?? [] }
}
