import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// C functions as rewards of a run.
@Suite(.serialized) struct NativeRewardTests {
    let work: TrainingFolder

    init() throws {
        work = try TrainingFolder()
        try CompiledPlugin.make(
            "Fixtures/native/functions.c", work.path("libscore.so"), ["-lm"])
    }

    private func rewards(_ entry: String) -> [String] { ["--set", "rewards=[\(entry)]"] }

    private func native(_ symbol: String, _ signature: String, _ rest: String = "") -> [String] {
        rewards(
            "{\"native\": {\"library\": \"libscore.so\", \"symbol\": \"\(symbol)\", \"signature\": \"\(signature)\"}\(rest)}"
        )
    }

    @Test func aFunctionTrains() throws {
        try work.config(.rloo, steps: 6)
        let run = try work.train(
            "rloo.json", into: "run",
            native(
                "ranks", "void(strs response, size rows, f32 out, f64 param:bonus)",
                ", \"name\": \"rank\", \"params\": {\"bonus\": 2}"))
        #expect(run.code == 0, "\(run.errors)")
        let metrics = try work.metrics("run")
        #expect(metrics.contains { ($0["rewards/rank/mean"]?.double ?? 0) >= 2 })
        // The same scores give the same run, in another number of processes too.
        let length = try work.train(
            "rloo.json", into: "one", native("negative", "i32(str response)"))
        let again = try work.train(
            "rloo.json", into: "two",
            native("negative", "i32(str response)", ", \"run\": {\"workers\": 3}"))
        #expect(length.code == 0 && again.code == 0, "\(length.errors)\(again.errors)")
        try work.expectSame("one", "two", step: 6)
    }

    @Test func aSignatureThatDoesNotFitIsFoundBeforeTheRun() throws {
        try work.config(.rloo, steps: 6)
        // A number where the function wants a text.
        let run = try work.train(
            "rloo.json", into: "run",
            native("length_of", "f64(i64 param:text)", ", \"params\": {\"text\": 8}"))
        #expect(run.code == ExitCode.config.rawValue, "\(run.errors)")
        #expect(
            run.errors.contains(
                "error[native]: the first rows cannot be scored: reward \"length_of\": row"),
            "\(run.errors)")
        #expect(
            run.errors.contains(": killed by signal 11 (segmentation fault)\n"), "\(run.errors)")
        #expect(
            run.errors.contains(
                "fix: see that libscore.so declares it as: double length_of(int64_t text)"),
            "\(run.errors)")
        #expect(!Files.exists(work.path("run/keel_run.json")))
        let check = try keel(
            ["check", "rloo.json"]
                + native("length_of", "f64(i64 param:text)", ", \"params\": {\"text\": 8}"),
            in: work.folder.path)
        #expect(check.code == ExitCode.config.rawValue, "\(check.errors)")
    }

    @Test func aFunctionIsTriedOnData() throws {
        let arguments = [
            "reward", "try", "--native", "./libscore.so", "--symbol", "length_of", "--data",
            "valid.jsonl",
        ]
        let good = try keel(
            arguments + ["--signature", "f64(str response)", "--json"], in: work.folder.path)
        #expect(good.code == 0, "\(good.errors)")
        let report = try JSON.parse(good.output)
        #expect(report["plugin"] == "length_of")
        #expect(report["agreement"]?["rate"]?.double != nil)
        let bad = try keel(
            arguments + ["--signature", "f64(str respnse)"], in: work.folder.path)
        #expect(bad.code == ExitCode.usage.rawValue)
        #expect(
            bad.errors == """
                error[native]: "respnse" is no source
                  at:  --signature, character 9
                  fix: did you mean "response"? sources: prompt, response, row, tokens, field:/POINTER, param:NAME; rows and out in the batch form

                """)
        let half = try keel(Array(arguments.prefix(6)), in: work.folder.path)
        #expect(half.code == ExitCode.usage.rawValue)
    }
}
