import Foundation
import Testing

/// Plugins that the tests compile with `cc`.
enum CompiledPlugin {
    private static let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent()

    /// Compiles a file under Tests/ into `library`.
    static func make(_ source: String, _ library: String, _ options: [String] = []) throws {
        let compiler = Process()
        compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        compiler.arguments =
            ["cc", "-std=gnu11", "-O1", "-fPIC", "-shared"] + options + [
                "-I", tests.appendingPathComponent("../SDK/C/include").standardized.path, "-o",
                library, tests.appendingPathComponent(source).path,
            ]
        try compiler.run()
        compiler.waitUntilExit()
        try #require(compiler.terminationStatus == 0, "cc refused \(source)")
    }
}
