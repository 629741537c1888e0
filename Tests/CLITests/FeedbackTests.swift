import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// Runs whose data sampler learns from each step.
@Suite(.serialized) struct FeedbackTests {
    let work: TrainingFolder

    init() throws {
        work = try TrainingFolder()
        try CompiledPlugin.make(
            "Fixtures/plugins/priority.c", work.path("libpriority.so"), ["-lm"])
    }

    private func order(_ rest: String = "") -> [String] {
        ["--set", "order={\"plugin\": \"./libpriority.so#priority\"\(rest)}"]
    }

    /// A run that is killed goes on with the rows that an uninterrupted one sees, bit for bit.
    @Test(arguments: [TrainingFolder.Kind.dpo, .rloo])
    func aKilledRunGoesOnWithWhatTheSamplerLearned(kind: TrainingFolder.Kind) throws {
        let config = try work.config(kind, steps: 26)
        let whole = try work.train(config, into: "whole", order())
        try #require(whole.code == 0, "\(whole.errors)")
        for step in [4, 11, 17] {
            let run = try RunningKeel(
                work, config: config, into: "killed", ["--resume", "auto"] + order())
            run.wait(forStep: step)
            run.signal(SIGKILL)
            _ = run.end()
        }
        let last = try work.train(config, into: "killed", ["--resume", "auto"] + order())
        #expect(last.code == 0, "\(last.errors)")
        try work.expectSame("whole", "killed", step: 26)
        let metrics = try work.metrics("whole")
        #expect(metrics.contains { $0["priority/priority"] != nil })

        // Where the sampler runs makes no difference.
        let inside = try work.train(
            config, into: "inside", order(", \"run\": {\"isolate\": \"none\"}"))
        #expect(inside.code == 0, "\(inside.errors)")
        try work.expectSame("whole", "inside", step: 26)

        // Feedback does: without it other rows are met.
        let other = try work.train(config, into: "other")
        #expect(other.code == 0)
        #expect(try work.weights("whole", step: 26) != work.weights("other", step: 26))
    }

    @Test func aSamplerThatCrashesStopsTheRunWithACheckpoint() throws {
        let config = try work.config(.dpo, steps: 6)
        let params = ", \"params\": {\"misdeed\": \"crash\", \"at\": \"feedback\"}"
        let run = try work.train(config, into: "run", order(params))
        #expect(run.code == ExitCode.stopped.rawValue, "\(run.errors)")
        #expect(
            run.errors.contains(
                """
                error[plugin]: data sampler "priority": killed by signal 11 (segmentation fault)
                  it wrote: about to crash
                  at:  $DIR/libpriority.so, feedback, step 0
                """), "\(run.errors)")
        #expect(Files.isDirectory(work.path("run/checkpoint-0")))
    }

    @Test func aColumnThatNoRunHasIsRefusedBeforeTheRun() throws {
        let config = try work.config(.dpo, steps: 6)
        let run = try work.train(
            config, into: "run",
            ["--set", "order={\"plugin\": \"./libpriority.so#wanting\"}"])
        #expect(run.code == ExitCode.unavailable.rawValue, "\(run.errors)")
        #expect(
            run.errors.contains(
                "data sampler \"./libpriority.so#wanting\" needs the column \"reward\""
            ) || run.errors.contains("libpriority.so#wanting\" needs the column \"reward\""),
            "\(run.errors)")
    }
}
