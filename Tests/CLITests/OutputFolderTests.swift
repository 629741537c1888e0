import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// What stands in a run's folder before it: another run, its model, a process at work.
@Suite(.serialized) struct OutputFolderTests {
    private let work: TrainingFolder

    init() throws { work = try TrainingFolder() }

    private static let adapter = ["--set", "model.lora={\"r\": 2}"]

    /// A full model and an adapter in one folder: the next command would take the one that is not this run's.
    @Test(arguments: [true, false]) func overwriteRemovesTheOtherKindOfModel(
        adapterLast: Bool
    ) throws {
        let config = try work.config(.dpo, steps: 2)
        let kinds = [[], OutputFolderTests.adapter]
        let best = ["--set", "train.load_best_model_at_end=true"]
        let first = try work.train(config, into: "run", kinds[adapterLast ? 0 : 1] + best)
        try #require(first.code == 0, "\(first.errors)")
        for name in ["critic/model.safetensors", "value_head.safetensors", "chat_template.jinja"] {
            try Files.makeDirectory(work.path("run/critic"))
            try AtomicWrite.file(work.path("run/\(name)"), "an earlier run's")
        }
        for name in [
            "model-00001-of-00002.safetensors", "model.safetensors.index.json", "notes.md",
        ] {
            try AtomicWrite.file(work.path("run/\(name)"), "")
        }
        let second = try work.train(
            config, into: "run", kinds[adapterLast ? 1 : 0] + ["--overwrite"])
        #expect(second.code == 0, "\(second.errors)")

        let fresh = try work.train(config, into: "fresh", kinds[adapterLast ? 1 : 0])
        #expect(fresh.code == 0, "\(fresh.errors)")
        // Foreign files stay; nothing else is there that a run into an empty folder does not leave.
        let names = try work.names("run")
        #expect(names == (try work.names("fresh") + ["notes.md"]).sorted())
        let has = { (name: String) in Files.exists(work.path("run/\(name)")) }
        #expect(has("adapter_config.json") == adapterLast)
        #expect(has("model.safetensors") == !adapterLast)
    }

    /// What a run starts from is not an earlier run's rubbish.
    @Test(arguments: ["run", "run/checkpoint-2"]) func overwriteKeepsTheRunsOwnModel(
        from: String
    ) throws {
        let config = try work.config(.dpo, steps: 2)
        try #require(try work.train(config, into: "run").code == 0)
        let refused = try work.train(
            config, into: "run", ["--overwrite", "--set", "model.path=\(from)"])
        #expect(refused.code == ExitCode.cannotCreate.rawValue)
        #expect(
            refused.errors.contains(
                """
                error[train]: --overwrite would remove a model that the run starts from
                  at:  $DIR/\(from)
                  fix: choose another --output-dir, or move the model away

                """), "\(refused.errors)")
        #expect(Files.exists(work.path("\(from)/model.safetensors")))
        #expect(Files.exists(work.path("run/metrics.jsonl")))
    }

    @Test func aSecondProcessIsRefused() throws {
        let config = try work.config(.dpo, steps: 4000)
        let first = try RunningKeel(work, config: config, into: "run")
        first.wait(forStep: 1)
        for arguments in [["--resume", "auto"], ["--overwrite"], []] {
            let second = try work.train(config, into: "run", arguments)
            #expect(second.code == ExitCode.cannotCreate.rawValue)
            #expect(
                second.errors == """
                    error[train]: another keel train is at work in the output folder
                      at:  $DIR/run
                      fix: wait until it has ended, stop it, or choose another --output-dir

                    """)
        }
        #expect(first.process.isRunning)
        // The lock ends with the process, however that ends.
        first.signal(SIGKILL)
        #expect(first.end() == -SIGKILL)
        let again = try work.train(
            config, into: "run", ["--resume", "auto", "--set", "train.max_steps=2"])
        #expect(again.code == 0, "\(again.errors)")
        #expect(try work.names("run").filter { $0.hasPrefix(".") || $0.contains("lock") } == [])
    }

    /// Going on from another run's checkpoint would cut the logs of the one that stands there.
    @Test func aForeignCheckpointIsNoResume() throws {
        let config = try work.config(.dpo, steps: 6)
        try #require(try work.train(config, into: "one").code == 0)
        try #require(try work.train(config, into: "two").code == 0)
        let before = try Files.read(work.path("two/metrics.jsonl"))
        let arguments = ["--resume", "one/checkpoint-3"]
        let refused = try work.train(config, into: "two", arguments)
        #expect(refused.code == ExitCode.cannotCreate.rawValue)
        #expect(
            refused.errors == """
                error[train]: the output folder holds a run already
                  at:  $DIR/two
                  fix: leave out --output-dir to go on in the checkpoint's own folder, discard that run (--overwrite), or choose another --output-dir

                """)
        #expect(try Files.read(work.path("two/metrics.jsonl")) == before)

        let over = try work.train(config, into: "two", arguments + ["--overwrite"])
        #expect(over.code == 0, "\(over.errors)")
        #expect(try work.names("two").filter { $0.hasPrefix("checkpoint-") } == ["checkpoint-6"])
        #expect(try work.metrics("two").first?["step"]?.int == 4)
        // The other run's logs are as they were, and in its own folder going back needs no word.
        #expect(try work.metrics("one").first?["step"]?.int == 1)
        #expect(try work.train(config, into: "one", arguments).code == 0)
    }

    /// A run whose checkpoints are all damaged does not start over unasked.
    @Test func noReadableCheckpointIsAnError() throws {
        let config = try work.config(.dpo, steps: 6)
        try #require(try work.train(config, into: "run").code == 0)
        for step in [3, 6] {
            try AtomicWrite.file(
                work.path("run/checkpoint-\(step)/keel_state.json"), "{\"step\": 3")
        }
        let before = try Files.read(work.path("run/metrics.jsonl"))
        let refused = try work.train(config, into: "run", ["--resume", "auto"])
        #expect(refused.code == ExitCode.badData.rawValue)
        #expect(
            refused.errors.hasSuffix(
                """
                error[train]: no checkpoint of the run can be read: checkpoint-3, checkpoint-6
                  at:  $DIR/run
                  fix: move the folder away to start anew, or discard the run (--overwrite)

                """), "\(refused.errors)")
        #expect(try Files.read(work.path("run/metrics.jsonl")) == before)
        let over = try work.train(config, into: "run", ["--resume", "auto", "--overwrite"])
        #expect(over.code == 0, "\(over.errors)")
    }
}
