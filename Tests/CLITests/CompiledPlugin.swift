import Foundation
import Testing

/// Plugins that the tests compile.
enum CompiledPlugin {
    private static let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent()

    /// Compiles a file under Tests/ into `library`.
    static func make(
        _ source: String, _ library: String, _ options: [String] = ["-std=gnu11"],
        compiler name: String = "cc"
    ) throws {
        let compiler = Process()
        compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        compiler.arguments =
            [name, "-O1", "-fPIC", "-shared"] + options + [
                "-I", tests.appendingPathComponent("../SDK/C/include").standardized.path, "-o",
                library, tests.appendingPathComponent(source).path,
            ]
        try compiler.run()
        compiler.waitUntilExit()
        try #require(compiler.terminationStatus == 0, "\(name) refused \(source)")
    }
}
