import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// How a run ends when something outside it goes wrong.
@Suite(.serialized) struct RunTests {
    let work: TrainingFolder

    init() throws { work = try TrainingFolder() }

    @Test(arguments: [SIGTERM, SIGINT], TrainingFolder.Kind.allCases)
    func aSignalSavesAndEndsWith75(signal: Int32, kind: TrainingFolder.Kind) throws {
        let config = try work.config(kind, steps: 30)
        try #require(try work.train(config, into: "whole").code == 0)
        let run = try RunningKeel(work, config: config, into: "stopped")
        run.wait(forStep: 4)
        run.signal(signal)
        #expect(run.end() == ExitCode.stopped.rawValue)
        let last = try #require(try work.metrics("stopped").last?["step"]?.int)
        #expect(last < 30)
        #expect(try work.names("stopped").contains("checkpoint-\(last)"))
        let rest = try work.train(config, into: "stopped", ["--resume", "auto"])
        #expect(rest.code == 0, "\(rest.errors)")
        try work.expectSame("whole", "stopped", step: 30)
    }

    /// A step of thousands of rows takes long enough for a second signal.
    @Test(arguments: [SIGTERM: Int32(143), SIGINT: 130])
    func aSecondSignalEndsAtOnce(signal: Int32, code: Int32) throws {
        let config = try work.config(.dpo, steps: 30)
        try work.folder.write("train.jsonl", TrainingFolder.preferences(4000))
        let run = try RunningKeel(
            work, config: config, into: "run", ["--set", "train.gradient_accumulation_steps=2000"])
        while run.process.isRunning, !Files.exists(work.path("run/keel_run.json")) { usleep(1000) }
        usleep(100_000)
        run.signal(signal)
        // Two signals that a busy process has not met yet are one.
        for _ in 0..<200 where run.process.isRunning {
            usleep(20_000)
            run.signal(signal)
        }
        #expect(run.end() == code)
        #expect(try work.names("run").filter { $0.hasPrefix("checkpoint") } == [])
    }

    /// A full disk, as a limit on the size of files: the weights do not fit, the log lines do.
    @Test func aFullDiskLeavesNoPartialFile() throws {
        let config = try work.config(.dpo, steps: 9)
        try #require(try work.train(config, into: "whole").code == 0)
        // The caches are there now; what is too big is the checkpoint.
        let process = try keelProcess(
            [
                "-c", "ulimit -f 100; trap '' XFSZ; exec \"$0\" \"$@\"", keelExecutable, "train",
                config, "--output-dir", "full",
            ],
            in: work.folder.path, executable: "/bin/sh", streams: "full.log")
        try process.run()
        process.waitUntilExit()
        let errors = try work.folder.read("full.log.err")
        #expect(process.terminationStatus == ExitCode.io.rawValue, "\(errors)")
        #expect(errors.split(separator: "\n").count { $0.hasPrefix("error[") } == 1, "\(errors)")
        #expect(errors.contains("File too large"), "\(errors)")
        let left = try work.names("full")
        #expect(
            left.filter {
                $0.hasPrefix("checkpoint") || $0.hasPrefix(".") || $0.contains("safetensors")
            } == [])
        // With room again the run goes on from its last whole checkpoint: here, from none.
        let again = try work.train(config, into: "full", ["--resume", "auto"])
        #expect(again.code == 0, "\(again.errors)")
        try work.expectSame("whole", "full", step: 9)
    }

    /// Rollouts that do not divide into steps and groups are refused with the config.
    @Test(arguments: [
        "train.num_generations=3":
            "an optimizer step has 4 completions, which is no multiple of train.num_generations (3)",
        "train.rollout_batch_size=6":
            "train.rollout_batch_size is 6, which is no multiple of the 4 completions of an optimizer step "
            + "(per_device_train_batch_size * gradient_accumulation_steps)",
    ])
    func rolloutsAreWholeStepsAndGroups(change: String, what: String) throws {
        let config = try work.config(.rloo, steps: 2)
        let change =
            change.hasPrefix("train.num") ? [change, "train.rollout_batch_size=null"] : [change]
        let outcome = try work.train(config, into: "run", change.flatMap { ["--set", $0] })
        #expect(outcome.code == ExitCode.config.rawValue)
        #expect(outcome.errors.hasPrefix("error[config]: \(what)\n"), "\(outcome.errors)")
        #expect(!Files.exists(work.path("run")))
    }

    /// An epoch's last rollout may be shorter than its steps.
    @Test func aShortLastRollout() throws {
        let config = try work.config(.rloo, steps: 14)
        try work.folder.write("train.jsonl", TrainingFolder.preferences(5))
        let outcome = try work.train(config, into: "run")
        #expect(outcome.code == 0, "\(outcome.errors)")
        #expect(try work.metrics("run").filter { $0["loss"] != nil }.count == 14)
    }

    /// The log-prob recorded while sampling at temperature 1 is the one that training computes: same kernels.
    @Test(arguments: [("f32", 1e-5), ("bf16", 1e-5)])
    func recordedLogprobsAreTheRecomputedOnes(dtype: String, bound: Double) throws {
        try work.folder.write("prompts.jsonl", TrainingFolder.preferences(6))
        let generated = try keel(
            [
                "generate", "--model", "base", "--prompts", "prompts.jsonl", "--max-new-tokens",
                "24", "--seed", "5",
                "--dtype", dtype, "--json",
            ], in: work.folder.path)
        try #require(generated.code == 0, "\(generated.errors)")
        var input = ""
        var recorded: [(from: Int, values: [Double])] = []
        for line in generated.output.split(separator: "\n") {
            let object = try JSON.parse(String(line))
            let prompt = object["prompt_ids"]?.array ?? []
            let completion = object["completion_ids"]?.array ?? []
            recorded.append(
                (prompt.count - 1, (object["logprobs"]?.array ?? []).compactMap(\.double)))
            input += JSON.array(prompt + completion).text() + "\n"
        }
        #expect(recorded.reduce(0) { $0 + $1.values.count } > 50)
        let forward = try keel(
            ["forward", "--model", "base", "--dtype", dtype], in: work.folder.path, input: input)
        try #require(forward.code == 0, "\(forward.errors)")
        var worst = 0.0
        for (line, (from, values)) in zip(forward.output.split(separator: "\n"), recorded) {
            let again = (try JSON.parse(String(line))["logprobs"]?.array ?? []).compactMap(\.double)
            #expect(again.count == from + values.count)
            for (a, b) in zip(values, again.dropFirst(from)) { worst = max(worst, abs(a - b)) }
        }
        print("\(dtype): recorded and recomputed log-probs differ by at most \(worst)")
        #expect(worst <= bound)
    }
}
