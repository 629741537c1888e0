import KeelCore
import KeelTestSupport
import Testing

/// A reward that gives more than scores.
@Suite struct TokenRewardTests {
    private func folder() throws -> TrainingFolder {
        let work = try TrainingFolder()
        try CompiledPlugin.make("Fixtures/plugins/token_rewards.c", work.path("libtokens.so"))
        try work.config(.rloo, steps: 4)
        return work
    }

    private func reward(_ more: String = "") -> String {
        "{\"plugin\": \"./libtokens.so\", \"name\": \"ids\"\(more)}"
    }

    /// Two rewards of the kind, of weight 0.5 and 0.25, in two workers and in this process: each token of each
    /// row finds its own.
    @Test(arguments: ["worker", "none"])
    func tokensGetTheirWeightedRewards(_ isolate: String) throws {
        let work = try folder()
        let run = ", \"run\": {\"isolate\": \"\(isolate)\"}"
        let workers = isolate == "worker" ? ", \"workers\": 2" : ""
        let twice = ", \"run\": {\"isolate\": \"\(isolate)\"\(workers)}"
        let rewards =
            "[\(reward(", \"weight\": 0.5\(twice)")), {\"plugin\": \"length\", \"params\": {\"target\": 20}}, "
            + "{\"plugin\": \"./libtokens.so\", \"name\": \"more\", \"weight\": 0.25\(run)}]"
        let outcome = try work.train(
            "rloo.json", into: "run",
            [
                "--set", "rewards=\(rewards)", "--set",
                "objective={\"plugin\": \"./libtokens.so\", \"params\": {\"scale\": 0.75}}",
            ])
        #expect(outcome.code == 0, "\(outcome.errors)")
        let lines = try work.metrics("run")
        let sum = { (name: String) in lines.compactMap { $0[name]?.double }.reduce(0, +) }
        #expect(sum("cells/right") > 16)
        #expect(sum("cells/wrong") == 0)
    }

    @Test func rewardsThatNobodyReadsAreRefusedBeforeTheRun() throws {
        let work = try folder()
        let run = try work.train("rloo.json", into: "run", ["--set", "rewards=[\(reward())]"])
        #expect(run.code == ExitCode.unavailable.rawValue, "\(run.errors)")
        #expect(
            run.errors.contains(
                "reward \"per_token\" rewards single tokens, which objective \"rloo\" does not read"
            ),
            "\(run.errors)")
        #expect(!Files.exists(work.path("run")))
    }

    @Test(arguments: [
        (", \"normalize\": \"scale\"", "{}"), (", \"clip\": [-1, 1]", "{}"),
        ("", "{\"transform\": \"logit\"}"),
        // Which whitens unless it is told not to.
        ("", "{\"rule\": \"gated\", \"gate\": \"length\"}"),
    ])
    func whatWouldChangeScoresAloneIsRefused(_ more: String, _ combine: String) throws {
        let work = try folder()
        let run = try work.train(
            "rloo.json", into: "run",
            [
                "--set", "rewards=[\(reward(more)), {\"plugin\": \"length\"}]", "--set",
                "objective={\"plugin\": \"./libtokens.so\", \"params\": {}}", "--set",
                "combine=\(combine)",
            ])
        #expect(run.code == ExitCode.config.rawValue, "\(run.errors)")
        #expect(run.errors.contains("which are added as they are"), "\(run.errors)")
    }

    /// An objective that needs them says so when no reward gives them.
    @Test func anObjectiveWithoutThemIsRefused() throws {
        let work = try folder()
        let run = try work.train(
            "rloo.json", into: "run",
            ["--set", "objective={\"plugin\": \"./libtokens.so\", \"params\": {}}"])
        #expect(run.code == ExitCode.unavailable.rawValue, "\(run.errors)")
        #expect(run.errors.contains("needs the column \"token_rewards\""), "\(run.errors)")
    }
}
