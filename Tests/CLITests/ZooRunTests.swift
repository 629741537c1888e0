import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// The bad plugins of Tests/Zoo as rewards of a run: the run survives what they do.
@Suite(.serialized) struct ZooRunTests {
    let work: HostileFolder

    init() throws {
        work = try HostileFolder()
        for name in ["crashes", "rewards"] {
            try CompiledPlugin.make("Zoo/\(name).c", work.folder.path("\(name).so"))
        }
        try CompiledPlugin.make(
            "Zoo/throws.cpp", work.folder.path("throws.so"), ["-std=gnu++20"], compiler: "g++")
    }

    /// The sixth row of the data: the run meets it in its third step of every six.
    private static let trigger = "Tell me 6 "

    private func train(
        _ plugin: String, run: String = "", steps: Int, trigger: String = ZooRunTests.trigger,
        _ more: [String] = []
    ) throws -> Outcome {
        try keel(
            [
                "train", "rloo.json", "--set", "train.max_steps=\(steps)", "--set",
                """
                rewards=[{"plugin": "./\(plugin)", "name": "bad", "params": {"trigger": "\(trigger)"}, "run": {\(run)}}]
                """,
            ] + more, in: work.folder.path)
    }

    private func lines(_ name: String) throws -> [JSONObject] {
        try work.folder.read(name).split(separator: "\n").map {
            try #require(try JSON.parse(String($0)).object)
        }
    }

    /// Ends its process, or what its process may do.
    @Test(arguments: [
        ("crashes.so#segfault", "killed by signal 11 (segmentation fault)", ""),
        ("crashes.so#abort", "killed by signal 6 (aborted)", ""),
        ("crashes.so#exit", "exited with status 3", ""),
        ("crashes.so#hang", "no answer within 0.5 s", "\"timeout_s\": 0.5"),
        ("crashes.so#allocate", "MiB of memory, allowed are 100 MiB", "\"max_rss_mb\": 100"),
        ("throws.so#throws", "killed by signal 6 (aborted)", ""),
        ("rewards.so#out_of_bounds", "wrote outside of the memory for its results", ""),
        ("rewards.so#undeclared_parameter", "\"bonus\"", ""),
        ("rewards.so#infinity", "gave inf to row 5", ""),
    ])
    func theRunStopsWithACheckpoint(plugin: String, cause: String, run: String) throws {
        let outcome = try train(plugin, run: run, steps: 100)
        #expect(outcome.code == ExitCode.stopped.rawValue, "\(outcome.errors)")
        let error = outcome.errors.components(separatedBy: "error[").last ?? ""
        let name = plugin.split(separator: "#")[1]
        #expect(error.hasPrefix("plugin]: reward \"bad\" (\(name))"), "\(error)")
        #expect(error.contains(cause), "\(error)")
        #expect(error.contains("score, step 2, row 5\n"), "\(error)")
        #expect(
            error.hasSuffix(
                "the checkpoint of step 2 is in $DIR/run/checkpoint-2; go on with --resume auto\n"),
            "\(error)")
        // Nobody but who asks sees what rows hold.
        #expect(!outcome.errors.contains("things about"), "\(outcome.errors)")
        try work.expectNothingPartial()
        guard plugin.hasSuffix("segfault") else { return }

        let again = try train(plugin, steps: 100, trigger: "nothing", ["--resume", "auto"])
        #expect(again.code == 0, "\(again.errors)")
        #expect(Files.exists(work.folder.path("run/checkpoint-100/model.safetensors")))
    }

    /// A row that cannot be scored leaves the batch, and no other loses its score.
    @Test(arguments: [
        ("crashes.so#segfault", ""), ("crashes.so#exit", ""), ("throws.so#throws", ""),
        ("rewards.so#out_of_bounds", "\"workers\": 3"),
        ("crashes.so#hang", "\"timeout_s\": 0.2"),
    ])
    func rowsThatFailAreDropped(plugin: String, run: String) throws {
        let isSlow = plugin.hasSuffix("hang")
        let steps = isSlow ? 8 : 100
        let policy = "\"on_error\": \"drop_row\"" + (run.isEmpty ? "" : ", \(run)")
        let outcome = try train(plugin, run: policy, steps: steps)
        #expect(outcome.code == 0, "\(outcome.errors)")
        var failed = 0
        for sample in try lines("run/samples.jsonl") {
            let isBad = sample["prompt"]?.string?.hasPrefix(ZooRunTests.trigger) == true
            let bytes = sample["completion"]?.string?.utf8.count ?? -1
            if isBad {
                failed += 1
                #expect(sample["bad"] == "nan" && sample["reward"] == "nan")
            } else {
                #expect(sample["bad"]?.double == Double(Float(bytes) / 100))
            }
        }
        // Two completions each time that the row comes round.
        #expect(failed == 2 * ((steps + 3) / 6))
        let metrics = try lines("run/metrics.jsonl").filter { $0["loss"] != nil }
        #expect(metrics.count == steps)
        #expect(metrics.allSatisfy { $0["loss"]?.double?.isFinite == true })
        func sum(_ key: String) -> Double {
            metrics.reduce(0) { $0 + ($1["reward_calls/bad/\(key)"]?.double ?? 0) }
        }
        #expect(sum("skipped") == Double(failed))
        #expect(sum(isSlow ? "timeouts" : "errors") >= Double(failed))
        #expect(sum("restarts") >= 1)
        guard isSlow else { return }
        // Each call that hung was ended half a second after its deadline at the latest.
        for line in metrics {
            let timeouts = line["reward_calls/bad/timeouts"]?.double ?? 0
            #expect((line["perf/score_wait_s"]?.double ?? 0) <= 0.5 + timeouts * (0.2 + 0.5))
        }
    }

    @Test func rowsThatFailTakeTheConstant() throws {
        let outcome = try train(
            "crashes.so#abort", run: "\"on_error\": \"constant\", \"constant\": -2", steps: 6)
        #expect(outcome.code == 0, "\(outcome.errors)")
        let bad = try lines("run/samples.jsonl").filter {
            $0["prompt"]?.string?.hasPrefix(ZooRunTests.trigger) == true
        }
        #expect(bad.count == 2)
        #expect(bad.allSatisfy { $0["bad"]?.double == -2 && $0["reward"]?.double == -2 })
    }

    /// What does no harm to a worker does none to the run.
    @Test(arguments: [
        "rewards.so#leak", "rewards.so#file_leak", "rewards.so#thread_leak", "rewards.so#fork_bomb",
        "rewards.so#chatter", "rewards.so#hidden_state",
    ])
    func othersGoOn(plugin: String) throws {
        let outcome = try train(
            plugin, run: "\"on_error\": \"drop_row\"", steps: 100,
            ["--set", "train.logging_steps=50"]
        )
        #expect(outcome.code == 0, "\(outcome.errors)")
        #expect(Files.exists(work.folder.path("run/checkpoint-100/model.safetensors")))
        #expect(outcome.output == "")
        if plugin.hasSuffix("chatter") {
            #expect(outcome.errors.contains("bad: scoring row "), "\(outcome.errors)")
        }
    }

    /// NaN says that the reward does not apply; where no other answers, the run stops.
    @Test func aReturnedNaNIsNoScore() throws {
        let outcome = try train("rewards.so#nan", steps: 100)
        #expect(outcome.code == ExitCode.stopped.rawValue)
        #expect(
            outcome.errors.contains("error[reward]: no reward applies to this row\n  at:  row 5\n"),
            "\(outcome.errors)")
    }

    /// A reward in Swift that traps.
    @Test func aSwiftTrapIsContained() throws {
        let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../Zoo/traps.swift").standardized.path
        let built = try keel(
            ["plugin", "build", source, "-o", "traps.so"], in: work.folder.path)
        try #require(built.code == 0, "\(built.errors)")
        let outcome = try train("traps.so#traps", steps: 100)
        #expect(outcome.code == ExitCode.stopped.rawValue, "\(outcome.errors)")
        #expect(
            outcome.errors.contains("row 5: killed by signal 4 (illegal instruction)"),
            "\(outcome.errors)")
    }
}
