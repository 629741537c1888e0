import KeelCore
import KeelTestSupport
import Testing

@testable import KeelHost

@Suite struct RunRecordTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// A run's folder with a metric that counts up from `base`.
    @discardableResult
    private func run(
        _ name: String, seed: Int, base: Double, rate: Double = 0.1, steps: Int = 4
    ) throws -> String {
        let manifest: JSON = [
            "config": [
                "train": ["seed": JSON(seed), "learning_rate": .double(rate)],
                "output_dir": .string(name),
            ]
        ]
        try folder.write("\(name)/keel_run.json", manifest.text())
        let lines = (1...steps).map {
            "{\"step\": \($0), \"epoch\": 0.5, \"reward\": \(base + Double($0)), \"num_tokens\": \($0 * 100)}"
        }
        try folder.write("\(name)/metrics.jsonl", lines.joined(separator: "\n") + "\n")
        return folder.path(name)
    }

    @Test func tornLastLinesArePassedOver() throws {
        let path = folder.path("m.jsonl")
        try folder.write(
            "m.jsonl",
            "{\"step\": 1, \"loss\": \"nan\"}\n\n{\"step\": 2, \"loss\": 3}\n{\"step\": 3, \"lo")
        let table = try MetricTable(lines: path)
        #expect(table.isTorn)
        #expect(table.steps == [1, 2])
        #expect(table.points("loss").map(\.x) == [1, 2])
        #expect(table.points("loss")[0].y.isNaN)
        #expect(table.last("loss") == 3)
        #expect(!(try MetricTable(lines: folder.path(folder.write("e.jsonl", "")))).isTorn)
    }

    @Test(arguments: [
        (
            "{\"step\": 1}\n{\"loss\": 2}\n{\"step\": 3}\n",
            """
            error[report]: a line without a "step"
              at:  m.jsonl:2
              fix: give a file of objects like {"step": 1, "loss": 0.5}, one a line
            """
        ),
        (
            "{\"step\": 1}\n{\"step\": 2,}\n{\"step\": 3}\n",
            """
            error[json]: not valid JSON: unexpected character
              at:  m.jsonl:2:12
              fix: write one JSON value per line, in UTF-8
            """
        ),
    ])
    func badLinesAreErrors(_ text: String, _ expected: String) throws {
        let path = folder.path("m.jsonl")
        try folder.write("m.jsonl", text)
        let error = #expect(throws: KeelError.self) { try MetricTable(lines: path) }
        #expect(error?.description.replacing(path, with: "m.jsonl") == expected)
    }

    @Test func historyOfOtherTrainersIsRead() throws {
        try folder.write(
            "trl/trainer_state.json",
            "{\"log_history\": [{\"step\": 5, \"loss\": 0.7}, {\"step\": 10, \"loss\": 0.6}]}")
        let run = try RunRecord(folder.path("trl"))
        #expect(run.metrics.points("loss").map(\.y) == [0.7, 0.6])
        #expect(run.label == "trl")
    }

    @Test func missingRuns() throws {
        #expect(throws: KeelError.self) { try RunRecord(folder.path("none")) }
        try folder.write("empty/x", "")
        let error = #expect(throws: KeelError.self) { try RunRecord(folder.path("empty")) }
        #expect(error?.what == "the folder holds no run: it has no metrics.jsonl")
        #expect(error?.code == .noInput)
    }

    @Test func seedsBecomeOneLine() throws {
        let paths = [
            try run("ppo-1", seed: 1, base: 0), try run("ppo-2", seed: 2, base: 4, steps: 9),
            try run("rloo-1", seed: 1, base: 0, rate: 0.2),
        ]
        let groups = RunGroup.bySeed(try RunRecord.load(paths), isLabelled: false)
        #expect(groups.map(\.label) == ["ppo", "rloo-1"])
        #expect(groups.map(\.runs.count) == [2, 1])
        var maker = RunChart(groups: groups)
        let series = maker.chart("reward").series
        #expect(series.map(\.label) == ["ppo (2 runs)", "rloo-1"])
        #expect(series[0].points.map(\.x) == [1, 2, 3, 4])
        #expect(series[0].points.map(\.y) == [3, 4, 5, 6])
        #expect(series[0].band.map(\.low) == [1, 2, 3, 4])
        #expect(series[0].band.map(\.high) == [5, 6, 7, 8])
        maker.band = .se
        // Two values 4 apart: deviation 2.83, error of the mean 2.
        #expect(
            maker.chart("reward").series[0].band.map { ($0.high - 5).rounded() } == [0, 1, 2, 3])
        maker.x = "num_tokens"
        #expect(maker.chart("reward").series[0].points.map(\.x) == [100, 200, 300, 400])
    }

    @Test func labelsGroupAnything() throws {
        let paths = [
            try run("a", seed: 1, base: 0), try run("b", seed: 1, base: 1, rate: 3),
            try run("c", seed: 1, base: 1),
        ]
        let runs = try RunRecord.load(paths, labels: ["x", "y", "x"])
        let groups = RunGroup.bySeed(runs, isLabelled: true)
        #expect(groups.map(\.label) == ["x", "y"])
        #expect(groups.map(\.runs.count) == [2, 1])
        let error = #expect(throws: KeelError.self) { try RunRecord.load(paths, labels: ["x"]) }
        #expect(error?.what == "1 labels for 3 runs")
    }

    @Test func namesAreToldApart() throws {
        let paths = [try run("one/run", seed: 1, base: 0), try run("two/run", seed: 1, base: 0)]
        #expect(try RunRecord.load(paths).map(\.label) == ["one/run", "two/run"])
    }
}
