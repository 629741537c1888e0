import KeelCore
import KeelTestSupport
import Testing

/// `keel report` from outside.
@Suite struct ReportTests {
    let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
        for (name, rate) in [("a", 1.0), ("b", 2.0)] {
            let lines = (1...20).map {
                "{\"step\": \($0), \"loss\": \(rate / Double($0)), \"reward\": \(rate * Double($0))}\n"
            }
            try folder.write("\(name)/metrics.jsonl", lines.joined())
        }
        try folder.write(
            "t.csv", "method,reward,reward_low,reward_high\nsft,1,0.5,1.5\ndpo,2,1,3\n")
    }

    @Test(arguments: [
        ["a", "b", "--metric", "loss", "--metric", "reward", "--line", "reward=9:best"],
        ["a", "b", "--label", "x", "--label", "x", "--group", "--metric", "loss", "--log-y"],
        ["a", "--metric", "loss", "--y-min", "-1", "--y-max", "2", "--line", "-0.5"],
        ["--table", "t.csv"],
    ])
    func chartsAreFiles(_ arguments: [String]) throws {
        let outcome = try keel(["report"] + arguments + ["--svg", "c.svg"], in: folder.path)
        #expect(outcome.errors == "")
        #expect(outcome.code == 0)
        let svg = try Files.readText(folder.path("c.svg"))
        #expect(svg.hasPrefix("<svg xmlns") && svg.hasSuffix("</svg>\n"))
        _ = try keel(["report"] + arguments + ["--svg", "d.svg"], in: folder.path)
        #expect(try Files.readText(folder.path("d.svg")) == svg)
    }

    @Test func pagesAreFiles() throws {
        let one = try keel(["report", "a"], in: folder.path)
        #expect(one.output == "a/report.html\n" && one.errors == "" && one.code == 0)
        let two = try keel(["report", "a", "b", "--group", "--out", "c.html"], in: folder.path)
        #expect(two.output == "c.html\n" && two.code == 0)
        for file in ["a/report.html", "c.html"] {
            let page = try Files.readText(folder.path(file))
            #expect(page.hasPrefix("<!doctype html>") && page.hasSuffix("</html>\n"))
        }
    }

    /// An evaluation that cannot be read costs its place on the page, not the page.
    @Test func damagedEvaluationsAreNamed() throws {
        try folder.write("a/eval.json", "{ \"model\": { \"reward\": 0.25 ")
        try folder.write("a/eval-2.json", "{ \"model\": { \"reward\": 0.125 } }")
        let outcome = try keel(["report", "a"], in: folder.path)
        #expect(outcome.code == 0)
        #expect(outcome.errors.hasPrefix("warning: a/eval.json was left out, it cannot be read: "))
        let page = try Files.readText(folder.path("a/report.html"))
        #expect(page.contains("<li>a/eval.json was left out, it cannot be read: "))
        #expect(page.contains("0.125"))
    }

    /// What a run warned of while it went on stands on its page, and its end says how to make one.
    @Test func pagesTellOfWarnings() throws {
        let files = try TrainingFolder()
        try files.folder.write(
            "c.json",
            """
            { "model": { "path": "base" }, "data": { "train": "train.jsonl", "valid": "valid.jsonl" },
              "objective": { "plugin": "sft" },
              "train": { "per_device_train_batch_size": 4, "max_steps": 2, "logging_steps": 1, "threads": 1,
                "load_best_model_at_end": true, "metric_for_best_model": "eval_nothing" },
              "output_dir": "run" }
            """)
        let outcome = try keel(["train", "c.json"], in: files.folder.path)
        try #require(outcome.code == 0, "\(outcome.errors)")
        #expect(outcome.errors.contains("a page about this run: keel report $DIR/run"))
        let page = try keel(["report", "run"], in: files.folder.path)
        #expect(page.code == 0, "\(page.errors)")
        #expect(
            try Files.readText(files.path("run/report.html")).contains(
                "Warned at step 2: no evaluation had &quot;eval_nothing&quot;"))
    }

    /// A run that fails says so on its page, as does the run that goes on from it.
    @Test func pagesTellOfFailures() throws {
        let files = try TrainingFolder()
        try files.folder.write(
            "c.json",
            """
            { "model": { "path": "base" }, "data": { "train": "train.jsonl" }, "objective": { "plugin": "sft" },
              "train": { "per_device_train_batch_size": 4, "max_steps": 8, "save_steps": 2, "logging_steps": 1,
                "learning_rate": 1e38, "max_grad_norm": 1e38, "threads": 1 },
              "output_dir": "run" }
            """)
        let failed = try keel(["train", "c.json", "-q"], in: files.folder.path)
        try #require(failed.code != 0)
        let begun = try keel(
            ["train", "c.json", "-q", "--resume", "auto", "--set", "train.learning_rate=1e-3"],
            in: files.folder.path)
        let log = try Files.readText(files.path("run/run_log.jsonl"))
        #expect(log.hasPrefix("{\"step\":0, \"event\":\"started\"}\n{\"step\":"))
        #expect(log.contains("\"event\":\"failed\", \"text\":\"error["), "\(log)")
        let page = try keel(["report", "run"], in: files.folder.path)
        #expect(page.code == 0, "\(page.errors) \(begun.errors)")
        let html = try Files.readText(files.path("run/report.html"))
        #expect(html.contains("Failed after step ") && html.contains("error["))
    }

    @Test(arguments: [
        (
            ["a", "b"],
            """
            error[usage]: a page of several runs, or of a file, needs a name
              at:  keel report
              fix: add --out report.html
            """, ExitCode.usage
        ),
        (
            ["a", "--metric", "los", "--svg", "c.svg"],
            """
            error[report]: there is no metric "los"
              at:  a
              fix: did you mean "loss"? there are: loss, reward
            """, .usage
        ),
        (
            ["none", "--metric", "loss", "--svg", "c.svg"],
            """
            error[report]: there is no run: the folder does not exist
              at:  none
              fix: give the output_dir of a run
            """, .noInput
        ),
        (
            ["a", "--metric", "loss", "--line", "x=1", "--svg", "c.svg"],
            """
            error[usage]: "x=1" is no line to compare with
              at:  --line
              fix: write [METRIC=]VALUE[:LABEL] with a metric that is drawn: --line "reward=0.99:best of 64"
            """, .usage
        ),
    ])
    func mistakes(_ arguments: [String], _ errors: String, _ code: ExitCode) throws {
        let outcome = try keel(["report"] + arguments, in: folder.path)
        #expect(outcome.errors == errors + "\n")
        #expect(outcome.code == code.rawValue)
        #expect(!Files.exists(folder.path("c.svg")))
    }
}
