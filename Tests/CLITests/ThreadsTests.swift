import KeelCore
import KeelTestSupport
import Testing

/// The number of threads changes the time, not a bit.
@Suite struct ThreadsTests {
    @Test(arguments: TrainingFolder.Kind.allCases, ["f32", "bf16"])
    func oneAndTwoThreadsGiveTheSameBytes(kind: TrainingFolder.Kind, dtype: String) throws {
        let work = try TrainingFolder()
        let config = try work.config(kind, steps: 12)
        for threads in [1, 2, 3] {
            let outcome = try work.train(
                config, into: "threads\(threads)",
                ["--set", "train.threads=\(threads)", "--set", "model.dtype=\(dtype)"])
            try #require(outcome.code == 0, "\(outcome.errors)")
        }
        try work.expectSame("threads1", "threads2", step: 12)
        try work.expectSame("threads1", "threads3", step: 12)
    }
}
