import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// A run that is ended from outside and goes on gives what an uninterrupted one gives, bit for bit.
@Suite(.serialized) struct ResumeTests {
    static let steps = 40
    let work: TrainingFolder

    init() throws { work = try TrainingFolder() }

    /// Ten moments over the whole run, in order: a step, and how many milliseconds after it was logged.
    private struct Moment {
        var step: Int
        var milliseconds: UInt32
    }

    private func moments() -> (seed: UInt64, moments: [Moment]) {
        let seed = UInt64.random(in: 0..<1_000_000)
        let stream = RandomStream(seed: seed, place: "kill")
        var moments: [Moment] = []
        for number in 0..<UInt64(10) {
            let step = stream.uniform(2 * number) * Double(ResumeTests.steps + 1)
            let delay = stream.uniform(2 * number + 1) * 60
            moments.append(Moment(step: Int(step), milliseconds: UInt32(delay)))
        }
        return (seed, moments.sorted { $0.step < $1.step })
    }

    @Test(arguments: TrainingFolder.Kind.allCases)
    func killedAtTenMoments(kind: TrainingFolder.Kind) throws {
        let config = try work.config(kind)
        let whole = try work.train(config, into: "whole")
        try #require(whole.code == 0, "\(whole.errors)")

        let (seed, moments) = moments()
        print("\(kind): killed at moments of seed \(seed)")
        var kills = 0
        for moment in moments {
            let run = try RunningKeel(work, config: config, into: "killed", ["--resume", "auto"])
            run.wait(forStep: moment.step)
            usleep(moment.milliseconds * 1000)
            run.signal(SIGKILL)
            if run.end() == -SIGKILL { kills += 1 }
        }
        let last = try work.train(config, into: "killed", ["--resume", "auto"])
        #expect(last.code == 0, "seed \(seed): \(last.errors)")
        #expect(kills >= 5, "seed \(seed): the run was over before it could be killed")
        try work.expectSame(
            "whole", "killed", step: ResumeTests.steps, "seed \(seed), \(kills) kills")
        #expect(try work.names("killed").filter { $0.hasPrefix(".") || $0.contains("tmp") } == [])
    }

    @Test(arguments: [("flipped", 1), ("truncated", 1), ("no state", 1), ("two of them", 2)])
    func aDamagedCheckpointIsPassedOver(damage: String, count: Int) throws {
        let config = try work.config(.dpo, steps: 12)
        try #require(try work.train(config, into: "whole").code == 0)
        try FileManager.default.copyItem(atPath: work.path("whole"), toPath: work.path("damaged"))
        for step in [12, 9].prefix(count) {
            let file = work.path("damaged/checkpoint-\(step)/optimizer.safetensors")
            var bytes = try Files.read(file)
            switch damage {
            case "truncated": bytes.removeLast()
            case "no state":
                try Files.remove(work.path("damaged/checkpoint-\(step)/keel_state.json"))
            default: bytes[bytes.count / 2] ^= 1
            }
            try Data(bytes).write(to: URL(fileURLWithPath: file))
        }
        let again = try work.train(config, into: "damaged", ["--resume", "auto"])
        #expect(again.code == 0, "\(again.errors)")
        #expect(again.errors.contains("checkpoint-12"), "\(again.errors)")
        #expect(again.errors.contains("checkpoint-\(12 - 3 * count)"), "\(again.errors)")
        try work.expectSame("whole", "damaged", step: 12, "\(damage)")
    }

    /// One more run over a finished one changes nothing.
    @Test func aFinishedRunStaysAsItIs() throws {
        let config = try work.config(.dpo, steps: 6)
        try #require(try work.train(config, into: "run").code == 0)
        try FileManager.default.copyItem(atPath: work.path("run"), toPath: work.path("before"))
        let again = try work.train(config, into: "run", ["--resume", "auto"])
        #expect(again.code == 0, "\(again.errors)")
        try work.expectSame("before", "run", step: 6)
    }

    @Test func anUsedFolderIsRefused() throws {
        let config = try work.config(.dpo, steps: 3)
        try #require(try work.train(config, into: "run").code == 0)
        let before = try Files.read(work.path("run/metrics.jsonl"))
        let again = try work.train(config, into: "run")
        #expect(again.code == ExitCode.cannotCreate.rawValue)
        #expect(
            again.errors == """
                error[train]: the output folder holds a run already
                  at:  $DIR/run
                  fix: go on with it (--resume auto), discard it (--overwrite), or choose another --output-dir

                """)
        #expect(try Files.read(work.path("run/metrics.jsonl")) == before)
        let over = try work.train(config, into: "run", ["--overwrite"])
        #expect(over.code == 0, "\(over.errors)")
        #expect(try work.metrics("run").filter { $0["loss"] != nil }.count == 3)
    }

    @Test func aChangedPluginIsRefused() throws {
        try work.config(.rloo, steps: 6)
        let shipped = Files.join(Files.parent(Files.executable), "libkeel-length.so")
        let plugin = work.path("libmine.so")
        try FileManager.default.copyItem(atPath: shipped, toPath: plugin)
        let arguments = [
            "--set",
            "rewards=[{\"plugin\": \"./libmine.so\", \"name\": \"mine\", \"params\": {\"target\": 20}}]",
        ]
        let first = try work.train("rloo.json", into: "run", arguments)
        try #require(first.code == 0, "\(first.errors)")
        // Make it a run that has something left to do, and the library another file that does the same.
        try Files.remove(work.path("run/checkpoint-6"))
        let bytes = try Data(contentsOf: URL(fileURLWithPath: plugin))
        try (bytes + Data([0])).write(to: URL(fileURLWithPath: plugin))

        let refused = try work.train("rloo.json", into: "run", arguments + ["--resume", "auto"])
        #expect(refused.code == ExitCode.unavailable.rawValue, "\(refused.errors)")
        #expect(
            refused.errors == """
                error[resume]: reward "length" is not the one this run was made with (length 1.0.0)
                  at:  $DIR/libmine.so
                  fix: use the old file, or accept the change with --allow-plugin-change

                """)
        let allowed = try work.train(
            "rloo.json", into: "run", arguments + ["--resume", "auto", "--allow-plugin-change"])
        #expect(allowed.code == 0, "\(allowed.errors)")
        #expect(allowed.errors.contains("is not the one this run was made with"))
    }
}
