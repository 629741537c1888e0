import KeelCore
import KeelTestSupport
import Testing

/// A reward that gives more than scores.
@Suite struct TokenRewardTests {
    @Test func aColumnThatNobodyReadsIsRefusedBeforeTheRun() throws {
        let work = try TrainingFolder()
        try CompiledPlugin.make("Fixtures/plugins/token_rewards.c", work.path("libtokens.so"))
        try work.config(.rloo, steps: 2)
        let run = try work.train(
            "rloo.json", into: "run", ["--set", "rewards=[{\"plugin\": \"./libtokens.so\"}]"])
        #expect(run.code == ExitCode.unavailable.rawValue, "\(run.errors)")
        #expect(
            run.errors.contains(
                "reward \"per_token\" gives the column \"token_rewards\", which a run does not hand to the objective"
            ), "\(run.errors)")
        #expect(run.errors.contains("fix: use a reward that gives scores alone"), "\(run.errors)")
        #expect(!Files.exists(work.path("run")))
    }
}
