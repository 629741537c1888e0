import KeelBridge
import KeelCore
import KeelTestSupport
import Testing

@testable import KeelHost

@Suite struct PluginNewTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func make(
        _ kind: String, _ name: String, _ language: PluginNew.Language = .c,
        at output: String = "new"
    ) throws -> [String] {
        let catalog = PluginCatalog(searchPaths: [], cacheFolder: folder.path)
        return try PluginNew(
            kind: kind, name: name, language: language, output: folder.path(output)
        ).run(catalog: catalog).files
    }

    @Test(
        arguments: ["reward", "objective", "token-sampler", "data_sampler"],
        PluginNew.Language.allCases)
    func everyKindHasItsFiles(kind: String, language: PluginNew.Language) throws {
        let files = try make(kind, "warm_up", language)
        let source = try #require(files.first { $0.hasSuffix(language == .c ? ".c" : ".swift") })
        #expect(
            Set(files) == [
                source, "Makefile", "README.md", "config.json", "rows.jsonl", "tests.jsonl",
            ])
        for file in files {
            let text = try folder.read("new/\(file)")
            #expect(!text.contains("my_plugin") && !text.contains("MyPlugin"), "\(file)")
            #expect(!text.contains("@SDK@") && !text.contains("@SOURCE@"), "\(file)")
        }
        #expect(try folder.read("new/README.md").contains(source))
    }

    @Test(arguments: [
        ("reward", "polite", "struct PoliteReward: Reward"),
        ("reward", "polite_reward", "struct PoliteReward: Reward"),
        ("reward", "reward", "struct RewardPlugin: Reward"),
        ("token-sampler", "token", "struct TokenSamplerPlugin: TokenSampler"),
        ("data-sampler", "by_2_lengths", "struct By2LengthsOrder: DataSampler"),
    ])
    func swiftTypesMeetNoTypeOfTheSDK(kind: String, name: String, line: String) throws {
        let files = try make(kind, name, .swift)
        let source = try #require(files.first { $0.hasSuffix(".swift") })
        #expect(try folder.read("new/\(source)").contains(line))
    }

    @Test(arguments: [
        ("Polite", "\"polite\" can"), ("My-Reward", "\"my_reward\" can"),
        ("lengthPenalty", "\"length_penalty\" can"), ("../x", "\"x\" can"),
        ("2fast", "\"fast\" can"), ("a b", "\"a_b\" can"),
        ("", "use lower-case letters, digits and underscores, a letter first, 64 at most"),
        ("_", "use lower-case letters, digits and underscores, a letter first, 64 at most"),
        (
            "ünïcödé", "\"n_c_d\" can"
        ),
    ])
    func namesThatCannotBe(name: String, fix: String) throws {
        let error = #expect(throws: KeelError.self) { _ = try make("reward", name) }
        #expect(
            error
                == KeelError(
                    "usage", "\"\(name)\" cannot be the name of a plugin", at: "keel plugin new",
                    fix: fix, code: .usage))
        #expect(try Files.list(folder.path) == [])
    }

    @Test(arguments: [
        ("rewrd", "did you mean \"reward\"?"), ("token_samplr", "did you mean \"token-sampler\"?"),
        ("x", "one of: reward, objective, token-sampler, data-sampler"),
    ])
    func kindsThatAreNone(kind: String, fix: String) throws {
        let error = #expect(throws: KeelError.self) { _ = try make(kind, "polite") }
        #expect(
            error
                == KeelError(
                    "usage", "unknown kind of plugin \"\(kind)\"", at: "keel plugin new", fix: fix,
                    code: .usage))
    }

    @Test func aFolderThatExistsStays() throws {
        try folder.write("new/mine.txt", "mine")
        let error = #expect(throws: KeelError.self) { _ = try make("reward", "polite") }
        #expect(error?.code == .cannotCreate)
        #expect(error?.at == folder.path("new"))
        #expect(try Files.list(folder.path("new")) == ["mine.txt"])
    }
}
