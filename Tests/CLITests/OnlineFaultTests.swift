import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// Rewards that go wrong in the middle of a PPO run, with a critic and two passes over roll-outs of two steps: the
/// policy is obeyed, and what healed or was resumed has the bits of a run that never failed.
@Suite(.serialized) struct OnlineFaultTests {
    static let steps = 14
    let work: TrainingFolder

    init() throws {
        work = try TrainingFolder()
        try CompiledPlugin.make("Fixtures/plugins/faults.c", work.path("libfaults.so"))
        for name in ["crashes", "rewards"] {
            try CompiledPlugin.make("Zoo/\(name).c", work.path("\(name).so"))
        }
        try work.config(.ppoMax, steps: OnlineFaultTests.steps)
    }

    private func train(
        _ plugin: String, _ params: String, run: String = "", into name: String,
        _ more: [String] = []
    ) throws -> Outcome {
        let reward = """
            {"plugin": "./\(plugin)", "name": "bad", "params": {\(params)}, "run": {\(run)}}
            """
        return try work.train(
            "ppo_max.json", into: name,
            ["--set", "rewards=[\(reward)]", "--set", "train.save_steps=100"] + more)
    }

    /// A fresh worker makes up for what failed once, in the second roll-out of the policy's phase (steps 6 to 13).
    ///
    /// The reward keeps a count that every score depends on.
    @Test(arguments: [
        ("fail", ""), ("segfault", ""), ("abort", ""), ("hang", "\"timeout_s\": 0.5"),
        ("segfault", "\"workers\": 2"),
    ])
    func whatHealsLeavesNoTrace(how: String, run: String) throws {
        let params = "\"how\": \"\(how)\", \"callback\": \"score\", \"step\": 10"
        let whole = try train("libfaults.so#faulty_reward", params, run: run, into: "whole")
        try #require(whole.code == 0, "\(whole.errors)")
        try work.folder.write("armed", "")
        let healed = try train("libfaults.so#faulty_reward", params, run: run, into: "healed")
        #expect(healed.code == 0, "\(healed.errors)")
        #expect(!Files.exists(work.path("armed")), "nothing went wrong")
        try work.expectSame("whole", "healed", step: OnlineFaultTests.steps, "\(how)")
        let calls = try work.lines("healed/metrics.jsonl").reduce(0.0) {
            $0 + ($1["reward_calls/bad/\(how == "hang" ? "timeouts" : "errors")"]?.double ?? 0)
        }
        #expect(calls == 1)
    }

    /// What cannot be healed stops the run with a checkpoint of the last whole step; repaired and resumed it ends with
    /// the bits of a run that never failed.
    @Test(arguments: [
        ("crashes.so#segfault", "", "killed by signal 11 (segmentation fault)"),
        ("crashes.so#hang", "\"timeout_s\": 0.5", "no answer within 0.5 s"),
        ("rewards.so#nan", "", "no reward applies to this row"),
        ("rewards.so#out_of_bounds", "", "wrote outside of the memory for its results"),
        ("rewards.so#infinity", "", "gave inf to row"),
    ])
    func whatStopsGoesOnFromThere(plugin: String, run: String, cause: String) throws {
        let never = "\"trigger\": \"nothing\""
        let whole = try train(plugin, never, run: run, into: "whole")
        try #require(whole.code == 0, "\(whole.errors)")
        // A row that the second roll-out of the policy's phase meets.
        let seen = try work.lines("whole/samples.jsonl")
        let row = try #require(seen.first { ($0["step"]?.int ?? 0) > 9 }?["prompt"]?.string)
        let words = row.split(separator: " ").prefix(3).joined(separator: " ")
        let stopped = try train(plugin, "\"trigger\": \"\(words) \"", run: run, into: "stopped")
        #expect(stopped.code == ExitCode.stopped.rawValue, "\(stopped.errors)")
        #expect(stopped.errors.contains(cause), "\(stopped.errors)")
        #expect(stopped.errors.contains("go on with --resume auto\n"), "\(stopped.errors)")
        let saved = try work.names("stopped").filter { $0.hasPrefix("checkpoint-") }
        #expect(saved.count == 1 && saved != ["checkpoint-\(OnlineFaultTests.steps)"], "\(saved)")
        let again = try train(plugin, never, run: run, into: "stopped", ["--resume", "auto"])
        #expect(again.code == 0, "\(again.errors)")
        try work.expectSame("whole", "stopped", step: OnlineFaultTests.steps, "\(plugin)")
    }

    /// Rows without a score leave the roll-out or take the constant; the run goes on with finite numbers.
    @Test(arguments: [
        ("crashes.so#segfault", "\"on_error\": \"drop_row\"", "stop", "nan"),
        ("crashes.so#segfault", "\"on_error\": \"constant\", \"constant\": -2", "stop", "-2.0"),
        ("rewards.so#nan", "", "drop_row", "nan"), ("rewards.so#nan", "", "constant", "-3.0"),
    ])
    func thePolicyIsObeyed(plugin: String, run: String, missing: String, want: String) throws {
        let trigger = "\"trigger\": \"Tell me 1\""  // 1 and 10 to 19 of 48 rows
        let outcome = try train(
            plugin, trigger, run: run, into: "run",
            ["--set", "combine={\"missing\": \"\(missing)\", \"constant\": -3}"])
        #expect(outcome.code == 0, "\(outcome.errors)")
        let lines = try work.metrics("run").filter { $0["loss"] != nil }
        #expect(lines.count == OnlineFaultTests.steps)
        #expect(lines.allSatisfy { $0["loss"]?.double?.isFinite == true })
        #expect(lines.allSatisfy { $0["grad_norm"]?.double?.isFinite == true })
        let samples = try work.lines("run/samples.jsonl")
        let bad = samples.filter { $0["prompt"]?.string?.hasPrefix("Tell me 1") == true }
        #expect(!bad.isEmpty && bad.count < samples.count)
        let found = Set(bad.map { $0["reward"]?.string ?? "\($0["reward"]?.double ?? 0)" })
        #expect(found == [want])
    }
}
