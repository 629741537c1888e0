import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// Plugins in the host's process that fail in the middle of a run: what is left goes on as if nothing had been.
@Suite(.serialized) struct PluginFaultTests {
    let work: TrainingFolder

    init() throws {
        work = try TrainingFolder()
        try CompiledPlugin.make("Fixtures/plugins/faults.c", work.path("libfaults.so"))
        try work.config(.dpo, steps: 8)
        try work.config(.rloo, steps: 8)
    }

    /// One component of faults.c and when it goes wrong.
    struct Fault: Sendable, CustomTestStringConvertible {
        var component: String
        var callback: String
        var how = "fail"
        /// As the plugin counts: the steps done, or rollouts for a sampler.
        var at: Int
        /// The checkpoint that the run leaves.
        var saved: Int?

        var testDescription: String { "\(component), \(callback): \(how)" }

        fileprivate var params: String {
            "\"params\": {\"how\": \"\(how)\", \"callback\": \"\(callback)\", \"step\": \(at)}"
        }

        fileprivate var config: String { component == "objective" ? "dpo.json" : "rloo.json" }

        /// What puts the component into the run.
        fileprivate var arguments: [String] {
            let plugin = "\"plugin\": \"./libfaults.so#faulty_\(component)\", \(params)"
            let value =
                switch component {
                case "objective": "objective={\(plugin)}"
                case "sampler": "sampler={\(plugin)}"
                default: "rewards=[{\(plugin), \"run\": {\"isolate\": \"none\"}}]"
                }
            return ["--set", value, "--set", "train.save_steps=0"]
        }
    }

    private func armed(_ isArmed: Bool) throws {
        if isArmed {
            try work.folder.write("armed", "")
        } else if Files.exists(work.path("armed")) {
            try Files.remove(work.path("armed"))
        }
    }

    /// The state of a plugin at the last whole step is what a checkpoint holds, not what a failed step made of it.
    @Test(arguments: [
        Fault(component: "objective", callback: "prepare", at: 5, saved: 5),
        Fault(component: "objective", callback: "loss", at: 5, saved: 5),
        Fault(component: "reward", callback: "score", at: 4, saved: 4),
        Fault(component: "sampler", callback: "sample", at: 1, saved: 4),
    ])
    func theRunGoesOnFromTheStepBefore(fault: Fault) throws {
        let whole = try work.train(fault.config, into: "whole", fault.arguments)
        try #require(whole.code == 0, "\(whole.errors)")

        try armed(true)
        let failed = try work.train(fault.config, into: "failed", fault.arguments)
        #expect(failed.code == ExitCode.stopped.rawValue, "\(failed.errors)")
        #expect(
            failed.errors.contains("\"faulty_\(fault.component)\": went wrong as told\n"),
            "\(failed.errors)")
        let saved = try #require(fault.saved)
        #expect(
            failed.errors.hasSuffix(
                "the checkpoint of step \(saved) is in $DIR/failed/checkpoint-\(saved); "
                    + "go on with --resume auto\n"), "\(failed.errors)")
        #expect(!Files.exists(work.path("armed")))

        let again = try work.train(
            fault.config, into: "failed", fault.arguments + ["--resume", "auto"])
        #expect(again.code == 0, "\(again.errors)")
        try work.expectSame("whole", "failed", step: 8, "\(fault.testDescription)")
    }

    /// An evaluation that fails is made up for when the run goes on.
    @Test func aFailedEvaluationIsMadeUpFor() throws {
        let fault = Fault(component: "reward", callback: "score", at: 6, saved: 6)
        let evaluating =
            fault.arguments + [
                "--set", "data.valid=valid.jsonl", "--set", "train.eval_steps=6", "--set",
                "train.rollout_batch_size=4",
            ]
        let whole = try work.train("rloo.json", into: "whole", evaluating)
        try #require(whole.code == 0, "\(whole.errors)")
        try armed(true)
        let failed = try work.train("rloo.json", into: "failed", evaluating)
        #expect(failed.code == ExitCode.stopped.rawValue, "\(failed.errors)")
        #expect(failed.errors.contains("checkpoint-6; go on"), "\(failed.errors)")
        let last = try #require(try work.metrics("failed").last)
        #expect(last["step"] == 6 && last["eval_reward"] == nil)
        let again = try work.train("rloo.json", into: "failed", evaluating + ["--resume", "auto"])
        #expect(again.code == 0, "\(again.errors)")
        try work.expectSame("whole", "failed", step: 8)
    }

    /// Where a plugin cannot even say its state there is no checkpoint of that step, and an older one is named.
    @Test func aStateThatCannotBeSaved() throws {
        var fault = Fault(component: "objective", callback: "save", at: 0)
        try armed(true)
        let first = try work.train("dpo.json", into: "first", fault.arguments)
        #expect(first.code == ExitCode.failed.rawValue, "\(first.errors)")
        #expect(try work.names("first").filter { $0.hasPrefix("checkpoint") } == [])

        fault.how = "none"
        let steps = ["--set", "train.max_steps=4", "--set", "train.lr_scheduler_type=constant"]
        try #require(try work.train("dpo.json", into: "run", fault.arguments + steps).code == 0)
        fault.how = "fail"
        try armed(true)
        let again = try work.train(
            "dpo.json", into: "run",
            fault.arguments + [
                "--resume", "auto", "--set", "train.lr_scheduler_type=constant",
            ])
        #expect(again.code == ExitCode.stopped.rawValue, "\(again.errors)")
        #expect(
            again.errors.hasSuffix(
                "the checkpoint of step 4 is in $DIR/run/checkpoint-4; go on with --resume auto\n"),
            "\(again.errors)")
    }

    /// What hangs is given up by name after the limit, from outside, with the last whole step saved.
    @Test(arguments: [
        Fault(component: "objective", callback: "loss", how: "hang", at: 3, saved: 3),
        Fault(component: "objective", callback: "prepare", how: "hang", at: 0, saved: 0),
        Fault(component: "sampler", callback: "sample", how: "hang", at: 1, saved: 4),
        Fault(component: "reward", callback: "score", how: "hang", at: 4, saved: 4),
    ])
    func aHangingCallbackEndsWithACheckpoint(fault: Fault) throws {
        let whole = try work.train(fault.config, into: "whole", fault.arguments)
        try #require(whole.code == 0, "\(whole.errors)")
        try armed(true)
        let hung = try work.train(
            fault.config, into: "hung", fault.arguments + ["--set", "train.watchdog_s=1"])
        #expect(hung.code == ExitCode.stopped.rawValue, "\(hung.errors)")
        let saved = try #require(fault.saved)
        let kind = fault.component == "sampler" ? "token sampler" : fault.component
        #expect(
            hung.errors.hasSuffix(
                """
                error[plugin]: \(kind) "faulty_\(fault.component)" has not come back from `\(fault.callback)` for 1 s
                  at:  $DIR/libfaults.so, \(fault.callback), step \(fault.at)
                  fix: look for an endless loop, or allow it more with train.watchdog_s
                       the checkpoint of step \(saved) is in $DIR/hung/checkpoint-\(saved); go on with --resume auto

                """), "\(hung.errors)")
        let again = try work.train(
            fault.config, into: "hung", fault.arguments + ["--resume", "auto"])
        #expect(again.code == 0, "\(again.errors)")
        try work.expectSame("whole", "hung", step: 8, "\(fault.testDescription)")
    }

    /// A fault in this process cannot be survived; it says who it was, and what there is to go on from.
    @Test(arguments: [
        (
            Fault(component: "objective", callback: "loss", how: "segfault", at: 3), SIGSEGV,
            "segmentation fault"
        ),
        (Fault(component: "sampler", callback: "sample", how: "abort", at: 1), SIGABRT, "abort"),
    ])
    func aFaultNamesTheComponent(fault: Fault, signal: Int32, words: String) throws {
        let saving = fault.arguments + ["--set", "train.save_steps=2"]
        let whole = try work.train(fault.config, into: "whole", saving)
        try #require(whole.code == 0, "\(whole.errors)")
        try armed(true)
        let died = try work.train(
            fault.config, into: "died", saving, environment: ["SWIFT_BACKTRACE": "enable=no"])
        #expect(died.code == -signal, "\(died.errors)")
        let saved = fault.component == "sampler" ? 4 : 2
        let kind = fault.component == "sampler" ? "token sampler" : fault.component
        #expect(
            died.errors.hasSuffix(
                """
                error[plugin]: \(kind) "faulty_\(fault.component)": killed by signal \(signal) (\(words))
                  at:  $DIR/libfaults.so, \(fault.callback), step \(fault.at)
                  fix: the checkpoint of step \(saved) is in $DIR/died/checkpoint-\(saved); go on with --resume auto

                """), "\(died.errors)")
        let again = try work.train(fault.config, into: "died", saving + ["--resume", "auto"])
        #expect(again.code == 0, "\(again.errors)")
        try work.expectSame("whole", "died", step: 8, "\(fault.testDescription)")
    }
}
