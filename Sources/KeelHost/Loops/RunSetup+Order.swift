import KeelBridge
import KeelCore

extension RunSetup {
    /// The data sampler of a run, where `order.run` wants it.
    ///
    /// - Throws: `KeelError` when it refuses its parameters, or fails while it is made.
    static func order(
        _ config: RunConfig, _ choice: RunPlugins.Choice, catalog: PluginCatalog, seed: UInt64
    ) throws -> DataSamplerInstance {
        let run = config.order.run
        guard run.isolate == .worker else {
            return try DataSamplerInstance(
                choice.component, catalog: catalog, parameters: choice.parameters, seed: seed)
        }
        return try DataSamplerInstance(
            choice.component, parameters: choice.parameters, seed: seed,
            options: WorkerOptions(
                timeout: run.timeoutSeconds, maxRSSMegabytes: run.maxRSSMegabytes))
    }

    /// The columns that a run can show a data sampler; anything else it needs is refused before the run.
    ///
    /// - Parameter given: what the objective's `prepare` gives.
    static func check(
        _ needs: [String], given: [String], _ phase: PlannedPhase, _ config: RunConfig
    ) throws {
        let ordering = ["length", "prompt_length", "row"]
        let common = [
            "loss", "logprobs", "seq_logprobs", "mean_logprobs", "entropy", "mask", "tokens",
            "ref_logprobs", "ref_seq_logprobs", "ref_mean_logprobs",
        ]
        let online = [
            "old_logprobs", "old_seq_logprobs", "old_mean_logprobs", "behavior_logprobs", "rewards",
            "weight", "group", "finished",
        ]
        let known =
            ordering + common
            + (phase.isOnline ? online : OfflineRows.known(dataKind: phase.dataKind)) + given
        for need in needs where !need.hasSuffix("?") {
            guard !known.contains(ColumnNames.split(need).base), !given.contains(need) else {
                continue
            }
            let near = nearest(need, among: known).map { "did you mean \"\($0)\"? " } ?? ""
            throw KeelError(
                "plugin",
                "data sampler \"\(config.order.plugin)\" needs the column \"\(need)\"",
                at: config.places.place(of: "order.plugin"),
                fix: "\(near)a run of this kind gives \(known.joined(separator: ", "))",
                code: .unavailable)
        }
    }
}
