import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// What `keel plugin new` makes is built by `make`, passes `make test`, and runs in a training.
@Suite struct NewPluginTests {
    let work: TrainingFolder

    init() throws { work = try TrainingFolder() }

    /// Runs a program in a folder below.
    private func run(_ command: [String], in folder: String) throws -> Outcome {
        let process = try keelProcess(
            command, in: work.path(folder), executable: "/usr/bin/env", streams: ".run")
        try process.run()
        process.waitUntilExit()
        return Outcome(
            code: process.terminationStatus, output: try work.folder.read("\(folder)/.run.out"),
            errors: try work.folder.read("\(folder)/.run.err"))
    }

    /// One test per language: the Swift plugins share the compiled SDK.
    @Test(arguments: ["c", "swift"])
    func everyKindBuildsTestsAndTrains(language: String) throws {
        for kind in ["reward", "objective", "token-sampler", "data-sampler"] {
            let name = "fresh_\(kind.prefix(4))"
            let what: Comment = "\(kind) in \(language)"
            let made = try keel(
                ["plugin", "new", kind, name, "--lang", language], in: work.folder.path)
            #expect(made.code == 0, "\(made.errors)")
            #expect(made.output.hasSuffix("\nnext: cd \(name) && make test\n"))
            // Kept beside the tests: compiled when the SDK changes, not at every run.
            let sdk = "BUILD=\(Files.join(Files.parent(Files.executable), "test-sdk"))"

            let built = try run(["make", sdk], in: name)
            try #require(built.code == 0, "\(what): \(built.errors)")
            #expect(!built.errors.contains("warning"), "\(what): \(built.errors)")
            let symbols = try run(["nm", "-D", "--defined-only", "lib\(name).so"], in: name)
            // Lower-case kinds are local symbols.
            let exported = symbols.output.split(separator: "\n").filter {
                $0.contains(" T ") || $0.contains(" D ")
            }
            #expect(exported.map { $0.suffix(14) } == ["keel_plugin_v1"], what)

            let tested = try run(["make", "test", sdk], in: name)
            #expect(tested.code == 0, "\(what): \(tested.output)\(tested.errors)")
            #expect(!tested.output.contains("\"error\""), "\(what): \(tested.output)")

            let trained = try run(["make", "train", "MODEL=\(work.path("base"))", sdk], in: name)
            #expect(trained.code == 0, "\(what): \(trained.errors)")
            let steps = try work.lines("\(name)/run/metrics.jsonl").compactMap { $0["step"]?.int }
            #expect(steps.last == 5, what)

            // A wrong answer is found.
            let tests = try work.folder.read("\(name)/tests.jsonl")
            let changed = try tests.split(separator: "\n").map { line -> String in
                var test = try #require(try JSON.parse(String(line)).object)
                test["expect"] = NewPluginTests.changed(test["expect"] ?? .null)
                return JSON.object(test).text() + "\n"
            }
            try work.folder.write("\(name)/tests.jsonl", changed.joined())
            let failed = try run(["make", "test", sdk], in: name)
            #expect(failed.code != 0, what)
            #expect(failed.output.contains("{\"error\":"), "\(what): \(failed.output)")
        }
    }

    /// The same with every number one higher.
    private static func changed(_ json: JSON) -> JSON {
        switch json {
        case .array(let list): .array(list.map(changed))
        case .object(let object):
            .object(JSONObject(pairs: object.map { ($0.key, changed($0.value)) }))
        default: json.double.map { .double($0 + 1) } ?? "inf"
        }
    }
}
