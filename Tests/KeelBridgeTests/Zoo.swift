import Foundation
import KeelBridge
import KeelCore
import KeelTensor
import Testing

/// Plugins compiled for the tests by the system's C compiler.
enum Zoo {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent()
        .deletingLastPathComponent()
    static let folder: String = {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent(
            "keel-bridge-\(getpid())"
        ).path
        try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }()

    /// The plugin of `Fixtures/plugins/zoo.c`.
    static let path = Result {
        try compile(root.appendingPathComponent("Tests/Fixtures/plugins/zoo.c").path, "zoo")
    }
    static let catalog = PluginCatalog(searchPaths: [], cacheFolder: folder)
    static let device = Device.cpu(threads: 1)

    /// Compiles C text into a shared library of the test folder.
    static func build(
        _ name: String, _ text: String, _ options: [String] = []
    ) throws -> String {
        let source = "\(folder)/\(name).c"
        try text.write(toFile: source, atomically: true, encoding: .utf8)
        return try compile(source, name, options)
    }

    static func compile(
        _ source: String, _ name: String, _ options: [String] = []
    ) throws -> String {
        let output = "\(folder)/\(name).so"
        let status = try Subprocess.run(
            [
                "cc", "-std=c11", "-O1", "-fPIC", "-shared", "-I",
                root.appendingPathComponent("SDK/C/include").path, source,
                "-o", output,
            ] + options)
        try #require(status == 0, "cc refused \(name)")
        return output
    }

    static func component(_ name: String) throws -> Component {
        try catalog.find("\(try path.get())#\(name)", kind: nil)
    }

    static func objective(
        _ name: String, _ params: JSONObject = [:], precision: ObjectiveInstance.Precision = .f64
    ) throws -> ObjectiveInstance {
        let component = try component(name)
        return try ObjectiveInstance(
            component, catalog: catalog, parameters: try component.validate(params: params),
            device: device,
            precision: precision)
    }

    /// Numbers in [-3, 0), the same for the same place.
    static func numbers(_ count: Int, _ place: String) -> [Double] {
        let stream = RandomStream(seed: 7, place: place)
        return (0..<count).map { -3 * stream.uniform(UInt64($0)) }
    }
}

/// The error that a piece of code throws, as a user reads it.
func message(_ body: () throws -> Void) -> String {
    do {
        try body()
        return "no error"
    } catch {
        return "\(error)"
    }
}
