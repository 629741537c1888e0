import KeelCore
import KeelTestSupport
import Testing

@testable import KeelHost

@Suite struct MetricLogTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    @Test func linesAndHistoryAgree() throws {
        let log = try MetricLog(directory: folder.path)
        try log.log(step: 10, epoch: 0.5, values: ["loss": 0.25, "rewards/chosen": .nan])
        try log.log(step: 10, epoch: 0.5, values: ["eval_loss": 2])
        try log.close()
        #expect(
            try folder.read("metrics.jsonl") == """
                {"step":10, "epoch":0.5, "loss":0.25, "rewards/chosen":"nan"}
                {"step":10, "epoch":0.5, "eval_loss":2.0}

                """)
        let state = log.trainerState(step: 10, epoch: 0.5)
        #expect(state.object?.keys == ["global_step", "epoch", "log_history"])
        #expect(state["log_history"]?[1]?["eval_loss"]?.double == 2)
    }

    /// Resuming at the checkpoint of step 20 forgets what came after, and a torn last line.
    @Test func resumingCutsBackToTheCheckpoint() throws {
        let lines = (1...4).map { "{\"step\":\($0 * 10), \"loss\":\($0)}\n" }.joined()
        try folder.write("metrics.jsonl", lines + "{\"step\":50, \"lo")
        let log = try MetricLog(directory: folder.path, keepUpTo: 20)
        #expect(log.history.map { $0["step"]?.int } == [10, 20])
        try log.log(step: 30, epoch: 1, values: ["loss": 7])
        try log.close()
        let steps = try folder.read("metrics.jsonl").split(separator: "\n").map {
            try JSON.parse(String($0))["step"]?.int
        }
        #expect(steps == [10, 20, 30])
    }

    @Test func aFreshRunStartsEmpty() throws {
        try folder.write("samples.jsonl", "{\"step\":1}\n")
        let lines = try JSONLines(folder.path("samples.jsonl"))
        try lines.append(["step": 5])
        try lines.close()
        #expect(try folder.read("samples.jsonl") == "{\"step\":5}\n")
    }

    @Test(arguments: [
        ("", 0), ("\n", 0), ("{\"step\":1}", 0),
        ("{\"step\":1}\n{\"step\":\"x\"}\n{\"step\":1}\n", 1),
        ("{\"step\":1}\n[]\n", 1), ("\u{0}\u{0}\u{0}\n", 0),
    ])
    func damagedTailsAreDropped(text: String, kept: Int) throws {
        try folder.write("x.jsonl", text)
        #expect(try JSONLines(folder.path("x.jsonl"), keepUpTo: 9).kept.count == kept)
    }

    @Test(arguments: [
        ("loss", "train/loss"), ("eval_rewards/chosen", "eval/rewards/chosen"),
        ("epoch", "train/epoch"),
    ])
    func tagsAreThoseOfTransformers(key: String, tag: String) {
        #expect(MetricLog.tag(key) == tag)
    }
}
