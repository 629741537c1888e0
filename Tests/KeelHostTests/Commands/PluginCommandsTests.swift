import KeelBridge
import KeelCore
import KeelTestSupport
import Testing

@testable import KeelHost

struct PluginCommandsTests {
    /// A reward in C that counts bytes; an empty response gets no score.
    private static let bytes = """
        #include "keel.h"
        static keel_status score(void *self, keel_call *c, size_t n, float *out) {
            (void)self;
            for (size_t i = 0; i < n; i++) {
                keel_str text = keel_text(c, "response", i);
                if (text.n > 0) out[i] = (float)(keel_num(c, "scale") * (double)text.n);
            }
            return KEEL_OK;
        }
        static const keel_component bytes = KEEL_REWARD(.name = "bytes", .help = "counts bytes",
            KEEL_PARAMS(KEEL_PARAM_F64("scale", 1, 0, 10, "times this")), .score = score);
        KEEL_PLUGIN("org.example.bytes", "0.1.0", &bytes)
        """

    private func built(_ folder: TemporaryFolder) throws -> (path: String, catalog: PluginCatalog) {
        let source = try folder.write("bytes.c", PluginCommandsTests.bytes)
        let catalog = PluginCatalog(searchPaths: [], cacheFolder: folder.path)
        let build = PluginBuild(sources: [source], output: folder.path("libbytes.so"))
        return (try build.run(catalog: catalog).path, catalog)
    }

    @Test func aSourceFileBecomesAPlugin() throws {
        let folder = try TemporaryFolder()
        let (path, catalog) = try built(folder)
        let component = try catalog.find(path, kind: .reward)
        #expect(component.name == "bytes")
        let info = PluginReport.info(component)
        #expect(info.contains("scale  number  1.0  0 ... 10  times this"))
        #expect(
            info.hasSuffix(
                """
                config
                  "rewards": [
                    {
                      "plugin": "\(path)",
                      "name": "bytes",
                      "weight": 1.0,
                      "params": {
                        "scale": 1.0
                      }
                    }
                  ]
                """))
        let several = PluginReport.info(component, isOnly: false)
        #expect(several.contains("\"plugin\": \"\(path)#bytes\","))
        #expect(
            PluginReport.infoJSON(component)["config"]?.text()
                == "{\"rewards\":[{\"plugin\":\"\(path)\", \"name\":\"bytes\", "
                + "\"weight\":1.0, \"params\":{\"scale\":1.0}}]}")
    }

    @Test func aFailedBuildLeavesNothing() throws {
        let folder = try TemporaryFolder()
        let source = try folder.write("broken.c", "int x")
        let build = PluginBuild(sources: [source], output: folder.path("libbroken.so"))
        let error = #expect(throws: KeelError.self) {
            try build.run(catalog: PluginCatalog(searchPaths: [], cacheFolder: folder.path))
        }
        #expect(error?.what == "broken.c does not compile: the compiler ended with status 1")
        #expect(try Files.list(folder.path) == ["broken.c"])
    }

    @Test func severalFilesAndFoldersBecomeOnePlugin() throws {
        let folder = try TemporaryFolder()
        let main = PluginCommandsTests.bytes.replacing(
            "(double)text.n", with: "count(text.n)"
        ).replacing("#include \"keel.h\"", with: "#include \"keel.h\"\ndouble count(size_t n);")
        let count = "#include <stddef.h>\ndouble count(size_t n);\ndouble count(size_t n) "
        let parts = [
            try folder.write("two/bytes.c", main),
            try folder.write("two/count.c", count + "{ return (double)n; }"),
        ]
        try folder.write("two/.hidden.c", "no C at all")
        try folder.write("two/notes.txt", "nor this")
        // C++ keeps its own words for what it exports; `count` is C in both.
        let mixed = [
            try folder.write("mixed.c", main),
            try folder.write(
                "count.cpp",
                "#include <string>\nextern \"C\" double count(size_t n) "
                    + "{ return (double)std::string(n, 'x').size(); }"),
        ]
        let catalog = PluginCatalog(searchPaths: [], cacheFolder: folder.path)
        for (name, sources) in [
            ("parts", parts), ("folder", [folder.path("two")]), ("mixed", mixed),
        ] {
            let build = PluginBuild(sources: sources, output: folder.path("lib\(name).so"))
            let result = try build.run(catalog: catalog)
            #expect(result.components.map(\.name) == ["bytes"])
            #expect(result.bytes > 1000)
            let eval = try PluginEval(
                plugin: result.path, options: PluginEval.Options(), catalog: catalog)
            #expect(try eval.answer(["text": ["response": ["abc"]]])["scores"] == [3.0])
            #expect(try ELFFile(try MappedFile(result.path)).exportedSymbols()?.count == 1)
        }
        let text = PluginBuild.Result(
            path: "libx.so", components: [], bytes: 6_262_640, needed: ["libc.so.6"]
        ).text
        #expect(text == "libx.so:  (6.2 MB, needs libc.so.6)")
    }

    @Test(arguments: [
        (["none.c"], "no such source file", ExitCode.noInput),
        (["empty"], "the folder holds no .swift, .c or .cpp file", .noInput),
        (["a.c", "b.swift"], "Swift and C files in one plugin", .usage),
        (["a.rs"], "cannot tell the language of \"a.rs\"", .usage),
        (
            ["a.c"], "liba.so would be no plugin: no source defines keel_plugin_v1",
            .unavailable
        ),
    ])
    func sourcesThatMakeNoPlugin(names: [String], what: String, code: ExitCode) throws {
        let folder = try TemporaryFolder()
        for name in ["a.c", "b.swift", "a.rs", "empty/notes.txt"] {
            try folder.write(name, name == "a.c" ? "int x;" : "")
        }
        let build = PluginBuild(
            sources: names.map(folder.path), output: folder.path("out/liba.so"))
        let error = #expect(throws: KeelError.self) {
            _ = try build.run(catalog: PluginCatalog(searchPaths: [], cacheFolder: folder.path))
        }
        #expect(error?.what == what)
        #expect(error?.code == code)
        #expect((try? Files.list(folder.path("out"))) ?? [] == [])
    }

    @Test func pairsAreJudgedByTheirLabels() throws {
        let folder = try TemporaryFolder()
        let (path, catalog) = try built(folder)
        let data = try folder.write(
            "pairs.jsonl",
            """
            {"prompt": "a", "chosen": "long answer", "rejected": "short"}
            {"prompt": "b", "chosen": "ab", "rejected": "abc"}
            {"prompt": "c", "chosen": "xyz", "rejected": "abc"}
            """)
        var options = RewardTry.Options(data: data)
        options.plugin = path
        options.params = ["scale": 2]
        let report = try RewardTry(options, catalog: catalog)
        #expect(report.json["chosen_scores"] == [22.0, 4.0, 6.0])
        #expect(report.json["agreement"]?["chosen_higher"] == 1)
        #expect(report.json["agreement"]?["equal"] == 1)
        #expect(report.json["agreement"]?["rate"]?.double == 1.0 / 3)
        #expect(report.warnings.isEmpty)
        #expect(report.text.contains("agrees with the label on 33.33% of pairs"))
    }

    @Test func constantScoresAreWarnedOf() throws {
        let folder = try TemporaryFolder()
        let (path, catalog) = try built(folder)
        let data = try folder.write(
            "rows.jsonl",
            """
            {"prompt": "a", "completion": "one"}
            {"prompt": "b", "completion": "two"}
            """)
        var options = RewardTry.Options(data: data)
        options.plugin = path
        let report = try RewardTry(options, catalog: catalog)
        #expect(report.json["scores"] == [3.0, 3.0])
        #expect(report.warnings == ["every score is 3: a constant reward teaches nothing"])
    }

    /// Numbers that no batch has: an error, and the next batch is answered.
    @Test(arguments: [Int64.max, Int64.max / 8, 100_000_000_000, -1])
    func evalRefusesNumbersOfRows(_ number: Int64) throws {
        let folder = try TemporaryFolder()
        let (path, catalog) = try built(folder)
        let eval = try PluginEval(plugin: path, options: PluginEval.Options(), catalog: catalog)
        let error = #expect(throws: KeelError.self) { try eval.answer(["rows": .int(number)]) }
        #expect(
            error?.description == """
                error[data]: "rows" is \(number)
                  fix: use a number from 0 to 4194304
                """)
        let sampler = try PluginEval(
            plugin: "\(try PhaseBench.library.get())#rotated", options: PluginEval.Options(),
            catalog: catalog)
        #expect(throws: KeelError.self) {
            try sampler.answer(["rows": 3, "length": .int(number)])
        }
        #expect(try sampler.answer(["rows": 3, "length": 2])["order"]?.array?.count == 2)
    }

    @Test func evalAnswersRewards() throws {
        let folder = try TemporaryFolder()
        let (path, catalog) = try built(folder)
        let eval = try PluginEval(plugin: path, options: PluginEval.Options(), catalog: catalog)
        let answer = try eval.answer([
            "params": ["scale": 0.1], "text": ["response": ["abc", "", nil]],
        ])
        #expect(answer["scores"]?.text() == "[0.3, \"nan\", \"nan\"]")
        #expect(throws: KeelError.self) {
            try eval.answer(["rows": 2, "text": ["response": ["x"]]])
        }
        #expect(throws: KeelError.self) { try eval.answer(["columns": [:]]) }
    }
}
