import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// `keel plugin check` at the command line; what it finds is tested by `ConformanceZooTests`.
@Suite struct PluginCheckTests {
    private static func run(_ arguments: String...) throws -> Outcome {
        let folder = try TemporaryFolder()
        return try keel(["plugin", "check"] + arguments, in: folder.path)
    }

    @Test func aCleanPluginEndsWithZero() throws {
        let outcome = try PluginCheckTests.run(
            "length", "--include", "descriptor", "--json", "--seed", "3")
        #expect(outcome.code == 0, "\(outcome.errors)")
        let report = try JSON.parse(outcome.output)
        #expect(report["plugin"]?.string == "keel.length 1.0.0")
        #expect(report["seed"]?.int == 3)
        #expect(
            report["results"]?.array?.compactMap { $0["test"]?.string } == [
                "valid", "help", "needs", "flags", "columns",
            ])
        #expect(report["results"]?.array?.allSatisfy { $0["level"]?.string == "pass" } == true)
        #expect(report["counts"]?["pass"]?.int == 5)
    }

    @Test func everyGroupIsListed() throws {
        let outcome = try PluginCheckTests.run("--list")
        let groups = outcome.output.split(separator: "\n").filter { !$0.hasPrefix(" ") }
        #expect(
            groups == [
                "file", "descriptor", "parameters", "reward", "independence", "objective",
                "sampler", "state", "errors", "resources", "fuzz",
            ])
    }

    @Test func anUnknownTestIsNamed() throws {
        let outcome = try PluginCheckTests.run("length", "--include", "rewards")
        #expect(outcome.code == ExitCode.usage.rawValue)
        #expect(
            outcome.errors == """
                error[usage]: no test is called "rewards"
                  fix: did you mean "reward"? `keel plugin check --list` shows all

                """)
    }

    @Test func aMissingFileIsNamed() throws {
        let outcome = try PluginCheckTests.run("./nope.so")
        #expect(outcome.code == ExitCode.unavailable.rawValue)
        #expect(outcome.errors.hasPrefix("error[plugin]: no such plugin file\n  at:  $DIR/nope.so"))
    }
}
