import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// The examples of the SDK, and those that the pages print, are compiled as they stand and give known answers.
@Suite(.serialized) struct ExamplesTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../..").standardized.path
    /// Where the compiled SDK is kept, beside the tests: compiled when it changes, not at every run.
    private static let cache = Files.join(Files.parent(Files.executable), "test-cache")

    private static func file(_ name: String) -> String { Files.join(root, name) }

    /// Builds a source file of the folder, with the answers of `Fixtures/plugins/examples/<answers>.jsonl`.
    private func expectAnswers(_ source: String, _ answers: String) throws {
        let built = try keel(
            ["plugin", "build", source, "-o", "libx.so"], in: folder.path,
            environment: ["XDG_CACHE_HOME": ExamplesTests.cache])
        try #require(built.code == 0, "\(source): \(built.errors)")
        #expect(!built.errors.contains("warning"), "\(source): \(built.errors)")
        let tests = try Files.readText(
            ExamplesTests.file("Tests/Fixtures/plugins/examples/\(answers).jsonl"))
        let answered = try keel(
            ["plugin", "eval", "./libx.so", "--dtype", "f64", "--batch", "-"], in: folder.path,
            input: tests)
        #expect(answered.code == 0, "\(source): \(answered.output)\(answered.errors)")
        #expect(
            answered.output.split(separator: "\n").count == tests.split(separator: "\n").count)
        try Files.remove(folder.path("libx.so"))
    }

    /// Lines that are neither empty nor comments.
    private func codeLines(_ text: String) -> Int {
        text.split(separator: "\n").filter { line in
            let line = line.drop { $0 == " " }
            return !line.isEmpty && !line.hasPrefix("//")
                && !(line.hasPrefix("/*") && line.hasSuffix("*/"))
        }.count
    }

    @Test(arguments: [
        ("brief.c", 15), ("Brief.swift", 10), ("dpo.c", 25), ("ppo.c", 50),
        ("PPO.swift", 50),
    ])
    func theExamplesOfTheSDK(name: String, atMost lines: Int) throws {
        let text = try Files.readText(ExamplesTests.file("SDK/examples/\(name)"))
        try folder.write(name, text)
        try expectAnswers(name, String(name.prefix { $0 != "." }).lowercased())
        #expect(codeLines(text) <= lines)
    }

    /// A fenced block of a page: "```c brief.c" has a language and a name.
    private struct Fence {
        var language: String
        var name: String
        var text: String
    }

    private func fences(_ page: String) throws -> [Fence] {
        var fences: [Fence] = []
        var open: Fence?
        let text = try Files.readText(ExamplesTests.file(page))
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("```") {
                if let done = open {
                    fences.append(done)
                    open = nil
                } else {
                    let words = line.dropFirst(3).split(separator: " ").map(String.init)
                    open = Fence(
                        language: words.first ?? "", name: words.dropFirst().first ?? "", text: "")
                }
            } else {
                open?.text += line + "\n"
            }
        }
        return fences
    }

    /// The blocks that are plugins; .ci/installed.sh builds the projects.
    private func blocks(_ page: String) throws -> [(name: String, text: String)] {
        try fences(page)
            .filter { $0.text.contains("KEEL_PLUGIN") || $0.text.contains("keel_plugin_v1") }
            .map { ($0.name, $0.text) }
    }

    @Test(arguments: ["README.md", "docs/plugins.md"])
    func thePagesPrintTheExamples(page: String) throws {
        let sources = try blocks(page).filter {
            $0.name.hasSuffix(".c") || $0.name.hasSuffix(".swift")
        }
        #expect(sources.map(\.name).contains("brief.c"))
        #expect(sources.map(\.name).contains("Brief.swift"))
        for (name, text) in sources {
            let file = ExamplesTests.file("SDK/examples/\(name)")
            #expect(
                text == (try? Files.readText(file)), "\(page): \(name) is not SDK/examples/\(name)")
            try folder.write(name, text)
            try expectAnswers(name, String(name.prefix { $0 != "." }).lowercased())
        }
    }

    /// The page on plugins, followed from top to bottom: its files are written, its commands run, its outputs compared.
    @Test func thePageOnPluginsHolds() throws {
        let work = try TrainingFolder()
        let folder = work.folder.path
        try Files.makeDirectory(work.path("page"))
        for (name, target) in [("model", work.path("base")), ("SDK", ExamplesTests.file("SDK"))] {
            try FileManager.default.createSymbolicLink(
                atPath: work.path("page/\(name)"), withDestinationPath: target)
        }
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        var commands = 0
        var output = ""
        let all = try fences("docs/plugins.md")
        for block in all where !block.name.isEmpty && block.name != "output" {
            try work.folder.write("page/\(block.name)", block.text)
        }
        for block in all {
            if block.name == "output" { #expect(output == block.text) }
            guard block.language == "sh" else { continue }
            commands += 1
            let process = try keelProcess(
                ["-ec", block.text], in: work.path("page"),
                environment: [
                    "PATH": "\(Files.parent(Files.executable)):\(path)",
                    "XDG_CACHE_HOME": ExamplesTests.cache,
                ], executable: "/bin/sh", streams: ".run")
            try process.run()
            process.waitUntilExit()
            output = try work.folder.read("page/.run.out")
            let errors = try work.folder.read("page/.run.err").replacing(folder, with: "$DIR")
            #expect(process.terminationStatus == 0, "\(block.text)\(output)\(errors)")
            #expect(!errors.contains("warning:"), "\(block.text)\(errors)")
        }
        #expect(commands >= 8)
    }

    /// The table of what ships is what is found.
    @Test func thePageListsWhatShips() throws {
        let list = try keel(["plugin", "list", "--json"], in: folder.path)
        let plugins = try #require(try JSON.parse(list.output)["plugins"]?.array)
        let page = try Files.readText(ExamplesTests.file("docs/plugins.md"))
        let table = try #require(page.components(separatedBy: "## What ships").last)
        let names = table.split(separator: "`").enumerated().filter { $0.offset % 2 == 1 }
            .map { String($0.element) }.filter { !$0.contains(" ") }
        #expect(Set(names) == Set(plugins.compactMap { $0["name"]?.string }))
    }

    /// The two C examples of the page that the header was written from, as it printed them.
    @Test func theFirstExamplesOfTheContract() throws {
        let printed = try blocks("Tests/Fixtures/plugins/examples/first.md")
        #expect(printed.map(\.name) == ["length.c", "dpo.c"])
        for (name, text) in printed {
            try folder.write(name, text)
            try expectAnswers(name, name == "dpo.c" ? "first_dpo" : "length")
        }
    }
}
