import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// `keel train` on damaged or wrong files: one clear error, the documented exit code, nothing written.
///
/// Serialized: each case starts a process, and the machine has few cores.
@Suite(.serialized) struct BrokenFilesTests {
    let folder: TemporaryFolder

    /// A copy of the samples' model, and rows and a config to train it with.
    init() throws {
        folder = try TemporaryFolder()
        let model = BrokenFilesTests.repository("samples/model")
        try Files.makeDirectory(folder.path("base"))
        for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
        {
            try Files.copy(Files.join(model, name), to: folder.path("base/\(name)"))
        }
        try folder.write("train.jsonl", String(repeating: BrokenFilesTests.row, count: 3))
        try folder.write(
            "c.json",
            """
            {
              "model": { "path": "base" },
              "data": { "train": "train.jsonl" },
              "objective": { "plugin": "dpo" },
              "train": { "max_steps": 1, "per_device_train_batch_size": 2 },
              "output_dir": "run"
            }
            """)
    }

    static let row = "{\"prompt\": \"Who?\", \"chosen\": \" Me.\", \"rejected\": \" No\"}\n"

    static func repository(_ path: String) -> String {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../../\(path)").standardized.path
    }

    func expectFailure(
        _ change: [String], _ code: ExitCode, _ errors: String,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let arguments = ["train", "c.json"] + change.flatMap { ["--set", $0] }
        let outcome = try keel(arguments, in: folder.path)
        #expect(outcome.errors == errors + "\n", sourceLocation: sourceLocation)
        #expect(outcome.code == code.rawValue, sourceLocation: sourceLocation)
        #expect(outcome.output == "", sourceLocation: sourceLocation)
        #expect(!Files.exists(folder.path("run")), sourceLocation: sourceLocation)
    }

    // MARK: - Data

    static let rows: [(row: String, what: String, place: String)] = [
        ("", "the data file is empty", ""),
        (
            "{\"prompt\": \"a\", \"chosen\": \"b\"}",
            "the row has no \"rejected\"; found \"prompt\", \"chosen\"", ":1"
        ),
        (
            "{\"prompt\": \"a\", \"chosen\": 3, \"rejected\": \"c\"}",
            "\"chosen\" must be a string, found an integer", ":1"
        ),
        ("{\"prompt\": ", "not valid JSON: unexpected end of data", ":1:12"),
        ("{\"foo\": 1}", "the row has no \"chosen\"; found \"foo\"", ":1"),
        ("[1]", "a row must be an object, found a list", ":1"),
    ]

    @Test(arguments: rows)
    func badRows(row: String, what: String, place: String) throws {
        try folder.write("bad.jsonl", row.isEmpty ? "" : row + "\n")
        let outcome = try keel(
            ["train", "c.json", "--set", "data.train=bad.jsonl"], in: folder.path)
        #expect(outcome.code == ExitCode.badData.rawValue)
        #expect(outcome.errors.contains("error[data]: "), "\(outcome.errors)")
        #expect(outcome.errors.contains(what), "\(outcome.errors)")
        #expect(outcome.errors.contains("at:  $DIR/bad.jsonl\(place)\n"), "\(outcome.errors)")
        #expect(!Files.exists(folder.path("run")))
    }

    @Test func theWholeTextOfABadRow() throws {
        try folder.write(
            "bad.jsonl",
            String(repeating: BrokenFilesTests.row, count: 3)
                + "{\"prompt\": \"a\", \"chosen\": \"b\"}\n")
        try expectFailure(
            ["data.train=bad.jsonl"], .badData,
            """
            error[data]: the row has no "rejected"; found "prompt", "chosen"
              at:  $DIR/bad.jsonl:4
              fix: add "rejected", or name the field that holds it: "columns": {"rejected": "..."} in "data"
            """)
    }

    // MARK: - Plugins

    @Test func aLibraryWithoutTheEntry() throws {
        try compile("int x;", to: "noentry.so")
        try expectFailure(
            ["objective.plugin=./noentry.so"], .unavailable,
            """
            error[config]: noentry.so is not a Keel plugin: it does not export keel_plugin_v1
              at:  --set objective.plugin=./noentry.so, key objective.plugin: $DIR/noentry.so
              fix: end the file with KEEL_PLUGIN(...) in C, or a public @c(keel_plugin_v1) function in Swift
            """)
    }

    @Test func aPluginForANewerHost() throws {
        try compile(
            """
            #define KEEL_API 7
            #include "keel.h"
            static keel_status score(void *self, keel_call *c, size_t n, float *out) {
                (void)self, (void)c, (void)n, (void)out;
                return KEEL_OK;
            }
            static const keel_component newer = KEEL_REWARD(.name = "newer", .help = "x", .score = score);
            KEEL_PLUGIN("org.example.newer", "1.0.0", &newer)
            """, to: "newer.so")
        try expectFailure(
            ["rewards=[{\"plugin\": \"./newer.so\"}]"], .unavailable,
            """
            error[config]: plugin "org.example.newer" asks for minor 7 of the plugin contract, \
            this Keel offers minor 0
              at:  --set rewards=[{"plugin": "./newer.so"}], key rewards[0].plugin: $DIR/newer.so
              fix: use a newer Keel, or build the plugin with KEEL_API 0
            """)
    }

    private func compile(_ source: String, to name: String) throws {
        let file = try folder.write("\(name).c", source)
        let include = BrokenFilesTests.repository("SDK/C/include")
        let process = try Process.run(
            URL(fileURLWithPath: "/usr/bin/env"),
            arguments: ["cc", "-shared", "-fPIC", "-I", include, file, "-o", folder.path(name)])
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
    }

    // MARK: - Models

    @Test func truncatedWeights() throws {
        let whole = try Files.read(folder.path("base/model.safetensors"))
        try replace("model.safetensors", Array(whole[..<5000]))
        let outcome = try keel(["train", "c.json"], in: folder.path)
        #expect(outcome.code == ExitCode.badData.rawValue)
        #expect(
            outcome.errors.hasPrefix("error[safetensors]: its data end at "), "\(outcome.errors)")
        #expect(outcome.errors.contains("at:  $DIR/base/model.safetensors, tensor "))
        #expect(!Files.exists(folder.path("run")))
    }

    @Test func aHeaderThatLiesAboutItsSize() throws {
        var bytes = try Files.read(folder.path("base/model.safetensors"))
        bytes.replaceSubrange(0..<8, with: [255, 255, 255, 255, 255, 255, 255, 127])
        let count = bytes.count
        try replace("model.safetensors", bytes)
        try expectFailure(
            [], .badData,
            """
            error[safetensors]: the header is said to have 9223372036854775807 bytes, but the file has \(count)
              at:  $DIR/base/model.safetensors
              fix: the file is damaged or not a safetensors file: get it again
            """)
    }

    @Test func aHeaderThatLiesAboutOffsets() throws {
        let bytes = try Files.read(folder.path("base/model.safetensors"))
        let length = (0..<8).reduce(0) { $0 | Int(bytes[$1]) << (8 * $1) }
        let header = String(decoding: bytes[8..<8 + length], as: UTF8.self)
        // One digit more in the first end of data.
        let start = try #require(header.range(of: "\"data_offsets\":"))
        let comma = try #require(header.range(of: ",", range: start.upperBound..<header.endIndex))
        let end = try #require(header.range(of: "]", range: comma.upperBound..<header.endIndex))
        let lying = Array(header.replacingCharacters(in: end, with: "0]").utf8)
        let size = (0..<8).map { UInt8(truncatingIfNeeded: lying.count >> (8 * $0)) }
        try replace("model.safetensors", size + lying + bytes[(8 + length)...])
        let outcome = try keel(["train", "c.json"], in: folder.path)
        #expect(outcome.code == ExitCode.badData.rawValue)
        #expect(outcome.errors.hasPrefix("error[safetensors]: "), "\(outcome.errors)")
        #expect(outcome.errors.split(separator: "\n").count == 3)
        #expect(!Files.exists(folder.path("run")))
    }

    @Test func aTokenizerOfAnUnknownKind() throws {
        let path = folder.path("base/tokenizer.json")
        var tokenizer = try JSON.parse(try Files.read(path), name: path)
        var model = try #require(tokenizer["model"]?.object)
        model["type"] = "WordPieces"
        var object = try #require(tokenizer.object)
        object["model"] = .object(model)
        tokenizer = .object(object)
        try replace("tokenizer.json", Array(tokenizer.text().utf8))
        try expectFailure(
            [], .badData,
            """
            error[tokenizer]: the model type "WordPieces" is not known; did you mean "WordPiece"?
              at:  $DIR/base/tokenizer.json, model
              fix: use a tokenizer whose model is one of: BPE, Unigram, WordPiece
            """)
    }

    @Test func aFolderThatCannotBeMade() throws {
        try folder.write("file", "")
        let outcome = try keel(
            ["train", "c.json", "--output-dir", "file/run"], in: folder.path)
        #expect(outcome.code == ExitCode.cannotCreate.rawValue)
        #expect(
            outcome.errors.hasSuffix(
                "error[io]: a file stands where a folder is needed\n  at:  $DIR/file\n"),
            "\(outcome.errors)")
    }

    private func replace(_ name: String, _ bytes: [UInt8]) throws {
        try AtomicWrite.file(folder.path("base/\(name)"), bytes)
    }
}
