import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// A tiny model, data and configs in a folder of their own, to be damaged by a test.
struct HostileFolder {
    /// The model that every test starts from: made once, kept as bytes.
    private static let base = Result<[String: [UInt8]], any Error> {
        let made = try TrainingFolder()
        let names = try Files.list(made.path("base"))
        return try Dictionary(
            uniqueKeysWithValues: names.map { ($0, try Files.read(made.path("base/\($0)"))) })
    }

    let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
        for (name, bytes) in try HostileFolder.base.get() { try write("base/\(name)", bytes) }
        try folder.write("train.jsonl", TrainingFolder.preferences(12))
        try folder.write("dpo.json", HostileFolder.config("\"plugin\": \"dpo\""))
        try folder.write(
            "rloo.json",
            HostileFolder.rloo("./libbad.so"))
    }

    /// A run that learns from a reward.
    static func rloo(_ reward: String) -> String {
        config("\"plugin\": \"rloo\"", "\"rewards\": [ { \"plugin\": \"\(reward)\" } ],")
    }

    private static func config(_ objective: String, _ more: String = "") -> String {
        """
        {
          "model": { "path": "base", "dtype": "f32" },
          "data": { "train": "train.jsonl", "max_length": 64, "max_completion_length": 4 },
          "objective": { \(objective) },
          \(more)
          "order": { "plugin": "sequential" },
          "train": { "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "num_generations": 2,
            "learning_rate": 1e-3, "max_steps": 4, "logging_steps": 1, "save_steps": 100, "seed": 11 },
          "output_dir": "run"
        }
        """
    }

    func write(_ name: String, _ bytes: [UInt8]) throws {
        try Files.makeDirectory(Files.parent(folder.path(name)))
        try AtomicWrite.file(folder.path(name), bytes)
    }

    // MARK: - Expectations

    /// Every file with its size, but for the streams of the runs.
    func listing() throws -> [String] {
        try (FileManager.default.subpathsOfDirectory(atPath: folder.path)).sorted().filter {
            !$0.hasPrefix(".std") && !$0.hasPrefix(".cache")
        }.map { "\($0) \(Files.size(folder.path($0)) ?? -1)" }
    }

    /// No file that was being written is left in a folder.
    func expectNothingPartial(
        _ name: String = "", sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let names = try FileManager.default.subpathsOfDirectory(atPath: folder.path(name))
        #expect(names.filter { $0.contains(".tmp-") } == [], sourceLocation: sourceLocation)
    }

    /// Runs a command that must refuse, and compares all that it says.
    func expectRefusal(
        _ arguments: [String], input: String = "", _ code: ExitCode, _ errors: String,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let before = try listing()
        let outcome = try keel(arguments, in: folder.path, input: input)
        let what: Comment = "keel \(arguments.joined(separator: " "))"
        #expect(outcome.errors == errors + "\n", what, sourceLocation: sourceLocation)
        #expect(outcome.code == code.rawValue, what, sourceLocation: sourceLocation)
        #expect(outcome.output == "", what, sourceLocation: sourceLocation)
        #expect(try listing() == before, what, sourceLocation: sourceLocation)
        try expectNothingPartial(sourceLocation: sourceLocation)
    }

    /// The three lines of an error.
    static func error(_ area: String, _ what: String, at: String, fix: String) -> String {
        "error[\(area)]: \(what)\n  at:  \(at)\n  fix: \(fix)"
    }
}
