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
    ])
    func theExamplesOfTheSDK(name: String, atMost lines: Int) throws {
        let text = try Files.readText(ExamplesTests.file("SDK/examples/\(name)"))
        try folder.write(name, text)
        try expectAnswers(name, String(name.prefix { $0 != "." }).lowercased())
        #expect(codeLines(text) <= lines)
    }

    /// Fenced blocks with a file name behind the language: "```c brief.c".
    private func blocks(_ page: String) throws -> [(name: String, text: String)] {
        var blocks: [(name: String, text: String)] = []
        var open: (name: String, lines: [Substring])?
        let text = try Files.readText(ExamplesTests.file(page))
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("```") {
                if let (name, lines) = open {
                    if !name.isEmpty { blocks.append((name, lines.joined(separator: "\n") + "\n")) }
                    open = nil
                } else {
                    open = (line.split(separator: " ").dropFirst().first.map(String.init) ?? "", [])
                }
            } else {
                open?.lines.append(line)
            }
        }
        return blocks
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
