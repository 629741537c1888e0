import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// Completions are scored while others are still being generated.
@Suite(.serialized) struct OverlapTests {
    let work: TrainingFolder

    init() throws {
        work = try TrainingFolder()
        try CompiledPlugin.make("Fixtures/plugins/overlap.c", work.path("liboverlap.so"))
        try work.config(.rloo, steps: 1)
    }

    private func arguments(_ run: String, patience: Int = 2000) -> [String] {
        let mark = "\"params\": {\"mark\": \"\(work.path("mark"))\", \"patience\": \(patience)}"
        return [
            "--set", "train.rollout_batch_size=4", "--set", "train.num_iterations=1", "--set",
            "rewards=[{\"plugin\": \"./liboverlap.so#marks\", \(mark), \"run\": \(run)}]", "--set",
            "sampler={\"plugin\": \"./liboverlap.so#waits\", \(mark)}",
        ]
    }

    /// The sampler goes on only when a score was given: no clock decides.
    @Test func aScoreIsGivenBeforeTheLastToken() throws {
        let outcome = try work.train(
            "rloo.json", into: "run", arguments("{}") + ["--trace", "trace.json"])
        #expect(outcome.code == 0, "\(outcome.errors)")
        // The timeline says the same: rows were handed over before generating ended.
        let text = try work.folder.read("trace.json")
        let events = try text.split(separator: "\n").dropFirst().map {
            try JSON.parse(String($0.hasSuffix(",") ? $0.dropLast() : $0))
        }
        let generate = try #require(events.first { $0["name"] == "generate" })
        let first = try #require(events.first { $0["name"] == "submit marks" })
        let (from, duration) = (generate["ts"]?.double ?? 0, generate["dur"]?.double ?? 0)
        #expect((first["ts"]?.double ?? .infinity) < from + duration)
        #expect(first["args"]?["rows"] == [0, 2])
        let metrics = try #require(try work.lines("run/metrics.jsonl").first)
        for name in ["perf/generate_s", "perf/score_wait_s", "perf/step_s"] {
            #expect(metrics[name]?.double != nil, "\(name)")
        }
    }

    /// The test above can fail: a reward in this process scores after the last token.
    @Test func inThisProcessThereIsNoOverlap() throws {
        let outcome = try work.train(
            "rloo.json", into: "run", arguments("{\"isolate\": \"none\"}", patience: 100))
        #expect(outcome.code == ExitCode.stopped.rawValue)
        #expect(
            outcome.errors.contains("nothing was scored while texts were made"),
            "\(outcome.errors)")
    }
}
