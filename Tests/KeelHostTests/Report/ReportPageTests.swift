import KeelCore
import KeelTestSupport
import Testing

@testable import KeelHost

@Suite struct ReportPageTests {
    let folder: TemporaryFolder
    /// What a completion may hold to break out of a page.
    static let hostile =
        "</div></script><script>alert(1)</script><img src=x onerror=alert(2)>\" ' & \u{202E}gnp.exe\u{0}"

    init() throws {
        folder = try TemporaryFolder()
        try folder.write(
            "run/keel_run.json",
            """
            {"keel": "0.1.0 <b>", "config": {"model": {"path": "/models/tiny"}, "objective": {"plugin": "rloo",
             "params": {"kl_coef": 0.05}}, "data": {"train": "/data/train.jsonl"}, "rewards": [{"plugin":
             "./libpolite.so", "name": "polite", "weight": 0.5}], "train": {"seed": 7}},
             "seed": 7, "total_steps": 40, "plugins": [{"instance": "rewards[0]", "name": "polite",
             "version": "1.0", "path": "/p/libpolite.so", "sha256": "abc123"}],
             "data": {"train": {"sha256": "feed"}}, "model": {"path": "/models/tiny", "sha256": "cafe"}}
            """)
        let lines = (1...20).map {
            """
            {"step": \($0), "loss": \($0 == 7 ? "\"nan\"" : "0.\($0)"), "eval_loss": 1.5, "reward": 0.\($0), \
            "rewards/polite/mean": 0.\($0), "rewards/polite/std": 0.2, "reward_calls/polite/errors": \($0 == 3 ? 2 : 0), \
            "reward_calls/polite/timeouts": 0, "reward_calls/polite/p95_ms": \($0), "reward_calls/polite/p50_ms": 1, \
            "completions/mean_length": 5, "completions/min_length": \($0), "completions/max_length": 30}
            """
        }
        try folder.write(
            "run/metrics.jsonl", lines.joined(separator: "\n") + "\n{\"step\": 21, \"lo")
        let samples = (1...20).flatMap { step in
            (0..<10).map { n -> String in
                let line: JSON = [
                    "step": JSON(step),
                    "prompt": n == 0 ? [["role": "user", "content": "Hi <b>"]] : "Hi",
                    "completion": .string(n == 0 ? ReportPageTests.hostile : "answer \(step).\(n)"),
                    "finish_reason": "length", "polite": n == 1 ? nil : 0.25, "reward": 0.125,
                ]
                return line.text()
            }
        }
        try folder.write(
            "run/samples.jsonl", samples.joined(separator: "\n") + "\n{\"step\": 20, \"pro")
        try folder.write(
            "run/eval.json",
            """
            {"rows": 9, "judge": "combined reward: <polite>", "model": {"path": "run", "reward": 0.75,
             "reward_interval_95": [0.5, 1.0], "rewards": {"polite": 0.75}, "length_tokens": 12.5},
             "against": {"path": "/models/tiny", "reward": 0.25, "reward_interval_95": [0.1, 0.4], "rewards":
             {"polite": 0.25}, "length_tokens": 20}, "win_rate": 0.8, "win_rate_interval_95": [0.6, 0.9]}
            """)
    }

    private func page(_ runs: [String] = ["run"]) throws -> String {
        var options = ReportCommand.PageOptions()
        options.runs = runs.map(folder.path)
        return try ReportCommand.page(options)
    }

    @Test func foreignTextStaysText() throws {
        let page = try page()
        #expect(!page.contains("alert(1)</script>") && !page.contains("<img"))
        #expect(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)"))
        #expect(page.contains("user: Hi &lt;b&gt;"))
        #expect(page.contains("&lt;polite&gt;") && page.contains("0.1.0 &lt;b&gt;"))
        #expect(!page.unicodeScalars.contains("\u{202E}") && !page.unicodeScalars.contains("\u{0}"))
        // One script, whose hash the page names, and no attribute or address that could run or load another.
        #expect(page.components(of: "<script").count == 2)
        #expect(
            page.contains("script-src 'sha256-\(PageStyle.base64(SHA256.hex(PageStyle.script)))'"))
        for word in ["http://", "https://", " src=", " href=\"h", "url(h", "@import"] {
            let outside = page.replacing("http://www.w3.org/2000/svg", with: "")
                .replacing("&lt;img src=x", with: "")
            #expect(!outside.contains(word), "\(word)")
        }
    }

    @Test func everythingIsThere() throws {
        let page = try page()
        for text in [
            "step 20 of 40", "objective rloo", "seed 7", "kl_coef 0.05", "sha256 cafe",
            "sha256 feed", "abc123",
            "loss is not finite in 1 of 20 log lines, first at step 7.", "Reward polite: 2 errors.",
            "there is no checkpoint to go on from", "The last line of metrics.jsonl is torn",
            "The last line of samples.jsonl is torn", "rewards/polite/mean = reward",
            "length, shortest to longest", "held out", "libpolite.so", "no opinion",
            "cut at the length limit",
            "8 of 20 logged steps", "8 of 10 completions",
            "0.75 <span class=\"iv\">[0.5, 1]</span>", "win rate",
        ] {
            #expect(page.contains(text), "\(text)")
        }
        #expect(page == (try self.page()))
    }

    @Test func runsAreCompared() throws {
        let config = try folder.read("run/keel_run.json")
        try folder.write(
            "b/keel_run.json",
            config.replacing("0.05", with: "0.5").replacing("\"seed\": 7", with: "\"seed\": 8"))
        try folder.write(
            "b/metrics.jsonl",
            "{\"step\": 1, \"loss\": 1}\n{\"step\": 9, \"loss\": 2, \"train_runtime\": 3}\n")
        let page = try page(["run", "b"])
        for text in [
            "2 runs compared", "objective.params.kl_coef", "train.seed", "c1\"></span>b",
            "data-label=\"b\"",
        ] {
            #expect(page.contains(text), "\(text)")
        }
        #expect(page.contains("<b>run</b>: Not finished") && !page.contains("<b>b</b>: Not"))
        #expect(!page.contains("<th>data.train</th>"))
    }

    /// What each run measured once is no curve over steps.
    @Test func singleEvaluationsAreComparedSideBySide() throws {
        for (name, step) in [("x", 3), ("y", 7)] {
            try folder.write(
                "\(name)/metrics.jsonl",
                "{\"step\": 1, \"loss\": 1}\n{\"step\": 2, \"loss\": 2}\n{\"step\": \(step), \"eval_loss\": \(step)}\n"
            )
        }
        let page = try page(["x", "y"])
        #expect(page.contains("text-anchor=\"end\" class=\"name\">x</text>"))
        #expect(page.contains("data-label=\"y\"") && page.contains("id=\"c0-0\""))
    }

    @Test func aFileOfNumbersIsEnough() throws {
        let page = try page(["run/metrics.jsonl"])
        #expect(page.contains("<title>metrics.jsonl</title>") && !page.contains("Not finished"))
    }

    @Test func aFolderWithoutManifestDoesNotSayHowItEnded() throws {
        try folder.write(
            "m/metrics.jsonl", "{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"loss\": 1}\n")
        #expect(RunFindings(try RunRecord(folder.path("m"))).status == .unknown)
        #expect(!(try page(["m"])).contains("class=\"chip"))
    }

    /// A run that had ended, was given more steps and was killed in them is not finished.
    @Test(arguments: [
        (["started", "finished"], 3, true), (["started", "finished", "resumed"], 3, false),
        (["started", "finished", "resumed", "warned"], 3, false),
        (["started", "stopped", "resumed", "finished", "warned"], 2, true),
        (["started"], 2, false), ([], 2, true), ([], 3, false),
    ]) func aRunHasEndedWhereItsLogEnds(
        _ events: [String], _ lastStep: Int, _ isFinished: Bool
    ) throws {
        try folder.write("k/keel_run.json", "{\"total_steps\": 4}")
        try folder.write(
            "k/metrics.jsonl",
            "{\"step\": 1, \"loss\": 1}\n{\"step\": 2, \"loss\": 1, \"train_runtime\": 3}\n"
                + (lastStep > 2 ? "{\"step\": \(lastStep), \"loss\": 1}\n" : ""))
        try folder.write(
            "k/run_log.jsonl",
            events.map { "{\"step\": 2, \"event\": \"\($0)\"}\n" }.joined())
        let status = RunFindings(try RunRecord(folder.path("k"))).status
        #expect(status == (isFinished ? .finished : .unfinished(step: lastStep, of: 4)))
    }

    /// A share that is none, in a file that others wrote, is shown and stops nothing.
    @Test(arguments: ["1e300", "-1e300", "1e19"]) func hugeNumbersAreShown(_ value: String) throws {
        try folder.write(
            "h/metrics.jsonl",
            (1...3).map { step in
                let names = [
                    "completions/clipped_ratio", "completions/unique_ratio", "frac_reward_zero_std",
                    "x",
                ]
                return "{\"step\": \(step), "
                    + names.map { "\"\($0)\": \(step == 2 ? "0.5" : value)" }.joined(
                        separator: ", ") + "}\n"
            }.joined())
        #expect(try page(["h"]).contains("of the late completions"))
    }

    @Test func base64() {
        #expect(PageStyle.base64("") == "")
        #expect(PageStyle.base64("66") == "Zg==")
        #expect(PageStyle.base64("666f") == "Zm8=")
        #expect(PageStyle.base64("666f6f626172") == "Zm9vYmFy")
    }

    @Test(arguments: [(20, 8), (3, 8), (8, 8), (9, 2), (0, 4)])
    func samplesAreSpread(_ steps: Int, _ count: Int) {
        let shown = SampleLog.spread(Array(0..<steps), count)
        #expect(shown.count == min(steps, count))
        #expect(
            shown.first == (steps == 0 ? nil : 0) && shown.last == (steps == 0 ? nil : steps - 1))
        #expect(shown == Set(shown).sorted())
    }
}

extension String {
    /// The parts between the places of a word.
    fileprivate func components(of word: String) -> [Substring] {
        var parts: [Substring] = []
        var rest = self[...]
        while let range = rest.firstRange(of: word) {
            parts.append(rest[..<range.lowerBound])
            rest = rest[range.upperBound...]
        }
        return parts + [rest]
    }
}
