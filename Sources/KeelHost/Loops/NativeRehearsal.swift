import KeelBridge
import KeelCore
import KeelData

/// Three calls of every reward that is a C function, before the run begins: a signature that does not fit
/// the function cannot be told from one that does, but it mostly crashes soon.
enum NativeRehearsal {
    /// Rows that are scored.
    private static let count = 3

    /// Scores the first rows of the data in workers of their own; the answers in the data, else empty ones.
    ///
    /// - Throws: `KeelError` or `KeelErrors` (config) that show how the signature understands the function.
    static func run(
        _ config: RunConfig, _ rewards: [RunPlugins.Choice], on data: Dataset
    ) throws {
        guard rewards.contains(where: { $0.component.native != nil }) else { return }
        let rows = try (0..<min(count, data.count)).map { number in
            let row = data.row(number)
            let texts = try data.texts(number)
            let answer = row["completion"]?.string ?? row["chosen"]?.string ?? ""
            return RewardRow(
                id: UInt64(number), prompt: Array((texts.prompt ?? "").utf8),
                response: Array(answer.utf8), row: row)
        }
        var errors: [KeelError] = []
        for (i, choice) in rewards.enumerated() {
            guard let function = choice.component.native else { continue }
            do {
                try score(rows, choice, config.rewards[i])
            } catch let error as KeelError {
                errors.append(
                    KeelError(
                        "native", "the first rows cannot be scored: \(error.what)",
                        at: config.places.place(of: "rewards.\(i).native"),
                        fix: NativeRehearsal.fix(error, function), code: .config))
            }
        }
        try KeelErrors(errors).throwIfAny()
    }

    private static func score(
        _ rows: [RewardRow], _ choice: RunPlugins.Choice, _ reward: RewardConfig
    ) throws {
        let runner = try WorkerReward(
            choice.component, parameters: choice.parameters, name: reward.shownName,
            options: WorkerOptions(
                timeout: reward.run.timeoutSeconds, maxRSSMegabytes: reward.run.maxRSSMegabytes))
        try runner.submit(rows, context: CallContext())
        _ = try runner.collect()
    }

    private static func fix(_ error: KeelError, _ function: NativeFunction) -> String {
        if let fix = error.fix, fix.hasPrefix("a score is") { return fix }
        return "see that \(Files.name(function.library)) declares it as: \(function.declaration)"
    }
}
