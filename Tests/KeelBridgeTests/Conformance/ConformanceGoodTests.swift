import Foundation
import KeelBridge
import KeelCore
import Testing

/// Good plugins pass `keel plugin check` without a warning: those that ship, the examples by every
/// compiler, the templates' languages.
@Suite struct ConformanceGoodTests {
    /// Fails and warnings of a suite on a file.
    private static func complaints(
        _ path: String
    ) throws -> (report: ConformanceSuite.Report, [String]) {
        var options = ConformanceSuite.Options()
        options.executable = ZooBuild.keel
        options.timeout = 120  // of a debug build, beside other tests
        options.seed = 4
        let report = try ConformanceSuite(path: path, options: options).run()
        let found = report.results.filter { $0.level == .fail || $0.level == .warn }
        return (report, found.map { "\($0.component ?? "file") \($0.test.id): \($0.what)" })
    }

    /// Everything beside the tests that is called libkeel-*.so.
    static let shipped = ((try? Files.list(Files.parent(Files.executable))) ?? []).filter {
        $0.hasPrefix("libkeel-") && $0.hasSuffix(".so")
    }.sorted()

    @Test func pluginsAreShipped() {
        #expect(ConformanceGoodTests.shipped.count >= 9)
    }

    @Test(arguments: shipped) func shippedPluginPasses(name: String) throws {
        let path = Files.join(Files.parent(Files.executable), name)
        let (report, complaints) = try ConformanceGoodTests.complaints(path)
        #expect(complaints.isEmpty, "\(complaints.joined(separator: "\n"))")
        #expect(report.count(.pass) >= 20, "\(name): only \(report.count(.pass)) tests ran")
    }

    /// The same C by four compilers; one that is not installed is left out.
    @Test(arguments: ["brief", "dpo", "ppo"], ["gcc", "clang", "g++", "tcc"])
    func examplePasses(example: String, compiler: String) throws {
        guard Subprocess.find(compiler) != nil else { return }
        let path = "\(ZooBuild.folder)/lib\(example)-\(compiler).so"
        try ZooBuild.compile(
            "\(ZooBuild.root)/SDK/examples/\(example).c", to: path, compiler: compiler,
            extra: ["-lm"])
        let (_, complaints) = try ConformanceGoodTests.complaints(path)
        #expect(complaints.isEmpty, "\(complaints.joined(separator: "\n"))")
    }

    @Test(arguments: ["Brief", "PPO"]) func swiftExamplePasses(example: String) throws {
        let path = "\(ZooBuild.folder)/lib\(example)-swift.so"
        try ZooBuild.compile("\(ZooBuild.root)/SDK/examples/\(example).swift", to: path)
        let (_, complaints) = try ConformanceGoodTests.complaints(path)
        #expect(complaints.isEmpty, "\(complaints.joined(separator: "\n"))")
    }
}
