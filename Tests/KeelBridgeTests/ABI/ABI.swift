import Foundation
import KeelBridge
import KeelCore
import Testing

/// The files of `Tests/ABI`, and what is made of them.
enum ABI {
    static func path(_ name: String) -> String {
        Zoo.root.appendingPathComponent("Tests/ABI/\(name)").path
    }

    static func read(_ name: String) -> String {
        (try? String(contentsOfFile: path(name), encoding: .utf8)) ?? ""
    }

    /// Where today's `keel.h` lies.
    static let include = Zoo.root.appendingPathComponent("SDK/C/include").path

    /// Today's `keel.h`.
    static let header =
        (try? String(contentsOfFile: include + "/keel.h", encoding: .utf8)) ?? ""

    /// A header as a later minor might have it: every struct that may grow has grown, there is a new
    /// host function, a new operation, and wrappers that only `KEEL_API` 1 shows.
    static let newerHeader: String = {
        var text = header
        for (name, more) in [
            ("keel_param", "double step; const char *unit;"),
            ("keel_phase", "const char *comment; uint64_t patience;"),
            (
                "keel_component",
                "const char *category; keel_status (*finish)(void *self, keel_call *c);"
            ),
            ("keel_plugin", "const char *license;"),
            ("keel_host", "double (*novelty)(keel_call *c, double x); void (*spare)(void);"),
        ] {
            text = text.replacingOccurrences(of: "} \(name);", with: "    \(more)\n} \(name);")
        }
        text = text.replacingOccurrences(
            of: "KEEL_OP_FULL = 143 ", with: "KEEL_OP_NOVEL = 144, KEEL_OP_FULL = 143 ")
        return text.replacingOccurrences(
            of: "#define KEEL_FN_",
            with: """
                #if KEEL_API >= 1
                static inline double keel_novelty(keel_call *c, double x) { return c->host->novelty(c, x); }
                #endif
                #define KEEL_FN_
                """)
    }()

    /// Compiles C into the test folder: a shared library, or a program.
    ///
    /// - Parameters:
    ///   - include: the folder of the `keel.h` to use.
    ///   - name: of the file that is made.
    static func compile(
        _ source: String, include: String, name: String, program: Bool = false,
        options: [String] = []
    ) throws -> String {
        let output = "\(Zoo.folder)/\(name)"
        let status = try Subprocess.run(
            ["cc", "-std=c11", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"]
                + (program ? [] : ["-fPIC", "-shared", "-fvisibility=hidden"]) + options
                + ["-I", include, source, "-o", output] + (program ? ["-ldl", "-lm"] : ["-lm"]))
        try #require(status == 0, "cc refused \(source)")
        return output
    }

    /// A folder that holds a header under the name `keel.h`.
    static func folder(_ name: String, holding header: String) throws -> String {
        let path = "\(Zoo.folder)/\(name)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        try header.write(toFile: path + "/keel.h", atomically: true, encoding: .utf8)
        return path
    }
}
