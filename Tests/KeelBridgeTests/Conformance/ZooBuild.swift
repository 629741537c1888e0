import Foundation
import KeelBridge
import KeelCore
import Testing

/// Compiles plugins for the tests of `keel plugin check`.
enum ZooBuild {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path
    static let sources = "\(root)/Tests/Zoo"
    /// The built `keel`, beside the tests.
    static let keel = Files.join(Files.parent(Files.executable), "keel")
    static let folder = {
        let path = "\(NSTemporaryDirectory())/keel-zoo-\(getpid())"
        try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }()

    /// What the linker is told beside, where that is the fault.
    private static let options: [String: [String]] = [
        "files/executable_stack.c": ["-z", "execstack"],
        "files/text_relocation.c": ["-Wl,-z,notext"],
    ]

    /// The plugin of a source of the zoo.
    static func plugin(_ file: String) throws -> String {
        let output = "\(folder)/lib\(file.replacingOccurrences(of: "/", with: "-")).so"
        var extra = options[file] ?? []
        if file == "files/missing_library.c" { extra += try stub("zoo_of_nobody") }
        try compile("\(sources)/\(file)", to: output, extra: extra)
        return output
    }

    /// Compiles a source by the compiler of its language, or a given one.
    static func compile(
        _ source: String, to output: String, compiler: String? = nil, extra: [String] = []
    ) throws {
        let command: [String]
        if source.hasSuffix(".swift") {
            command = [
                "env", "XDG_CACHE_HOME=\(folder)/cache", keel, "plugin", "build", source, "-o",
                output,
            ]
        } else {
            let chosen = compiler ?? (source.hasSuffix(".cpp") ? "g++" : "cc")
            // tcc knows no C11 by name; g++ takes C as C++20.
            let dialect =
                chosen == "g++"
                ? ["-std=c++20", "-x", "c++"] : chosen == "tcc" ? [] : ["-std=gnu11"]
            command =
                [chosen] + dialect
                + [
                    "-O1", "-fPIC", "-shared", "-I", "\(root)/SDK/C/include", source, "-o", output,
                ] + extra
        }
        let status = try Subprocess.run(command)
        try #require(status == 0, "\(command.joined(separator: " "))")
    }

    /// A library to link with that is gone when the plugin is loaded.
    private static func stub(_ name: String) throws -> [String] {
        let source = "\(folder)/\(name).c"
        try "int \(name)(void) { return 0; }\n".write(
            toFile: source, atomically: true, encoding: .utf8)
        let library = "\(folder)/stub/lib\(name).so"
        try FileManager.default.createDirectory(
            atPath: "\(folder)/stub", withIntermediateDirectories: true)
        let status = try Subprocess.run([
            "cc", "-shared", "-fPIC", source, "-o", library, "-Wl,-soname,lib\(name).so",
        ])
        try #require(status == 0)
        return ["-L", "\(folder)/stub", "-Wl,--no-as-needed", "-l\(name)"]
    }
}
