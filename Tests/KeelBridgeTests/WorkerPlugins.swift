import Foundation
import KeelCore
import Testing

@testable import KeelBridge

/// Plugins of `Fixtures/plugins` for the tests of worker processes.
enum WorkerPlugins {
    static let mischief = Result {
        try Zoo.compile(
            Zoo.root.appendingPathComponent("Tests/Fixtures/plugins/mischief.c").path, "mischief")
    }
    static let probe = Result {
        try Zoo.compile(
            Zoo.root.appendingPathComponent("Tests/Fixtures/plugins/probe.c").path, "probe")
    }

    static func component(_ name: String) throws -> Component {
        let path = try (name == "probe" ? probe : mischief).get()
        return try Zoo.catalog.find("\(path)#\(name)", kind: .reward)
    }

    static func reward(
        _ name: String = "mischief", _ params: JSONObject = [:],
        options: WorkerOptions = WorkerOptions(timeout: 20), seed: UInt64 = 3
    ) throws -> WorkerReward {
        let component = try component(name)
        return try WorkerReward(
            component, parameters: try component.validate(params: params), name: "my_\(name)",
            seed: seed, options: options)
    }

    static func inProcess(
        _ name: String, _ params: JSONObject = [:], seed: UInt64 = 3
    ) throws -> InProcessReward {
        let component = try component(name)
        return try InProcessReward(
            component, catalog: Zoo.catalog, parameters: try component.validate(params: params),
            name: "my_\(name)", seed: seed)
    }

    /// Rows with these responses; their ids begin at 100.
    static func rows(_ responses: [String], group: (Int) -> Int = { $0 }) -> [RewardRow] {
        responses.enumerated().map { at, text in
            RewardRow(
                id: UInt64(100 + at), prompt: Array("p\(at)".utf8), response: Array(text.utf8),
                tokens: [1, 2], promptTokens: [7], group: Int32(group(at)))
        }
    }

    /// A path that does not exist yet.
    static func freshPath() -> String { "\(Zoo.folder)/\(UUID().uuidString)" }
}

extension RewardRunner {
    /// Submits and collects.
    func score(_ rows: [RewardRow], context: CallContext = CallContext()) throws -> [RewardScore] {
        try submit(rows, context: context)
        return try collect()
    }
}

extension [RewardScore] {
    /// Compares floats by their bits: NaN equals NaN.
    var bits: [UInt32] { map(\.value.bitPattern) }
}
