import Glibc
import KeelBridge
import KeelCore

/// `keel check CONFIG`: everything that `train` would check, a memory plan, and a rehearsal.
package enum CheckCommand {
    /// Loads what the config names and makes two optimizer steps in memory.
    ///
    /// Writes nothing but caches.
    ///
    /// - Returns: a report: data, model, plugins, memory, and the two steps.
    /// - Throws: what `train` would throw.
    package static func run(_ options: TrainCommand.Options, rehearse: Bool = true) throws -> JSON {
        let catalog = PluginCatalog(searchPaths: options.pluginPaths)
        let (config, plugins) = try RunConfig.load(
            options.configPath, overrides: options.overrides, outputDir: options.outputDir,
            catalog: catalog)
        let setup = try RunSetup(config: config, plugins: plugins, catalog: catalog)
        let parameters = setup.networks.trainedCells
        // Weights, moments and reference are there; gradients, in f32, come with the first step.
        let lasting = setup.device.memory.used + 4 * parameters
        var report: JSONObject = [
            "config": .string(options.configPath),
            "objective": .string(plugins.objective.component.name),
            "parameters": JSON(setup.model.parameterCount), "total_steps": JSON(setup.totalSteps),
            "steps_per_epoch": JSON(setup.loop.stepsPerEpoch),
            "data": .array(setup.notes.map { .string($0) }),
        ]
        guard rehearse else { return .object(report) }
        let isPhased = setup.loop.phases.count > 1
        let steps = try setup.loop.rehearse(2).map { phase, result, seconds in
            var step: JSONObject = [
                "loss": .double(result.loss), "grad_norm": .double(result.gradNorm),
                "tokens": JSON(result.tokens), "seconds": .double(seconds),
            ]
            if isPhased { step.append("phase", .string(phase)) }
            return JSON.object(step)
        }
        report["rehearsal"] = .array(steps)
        report["memory"] = [
            "weights_and_optimizer_bytes": JSON(lasting),
            "tensor_peak_bytes": JSON(setup.device.memory.peak),
            "process_peak_bytes": JSON(peakResidentBytes()),
        ]
        return .object(report)
    }

    /// The report for people.
    package static func table(_ report: JSON) -> String {
        func text(_ key: String) -> String { report[key].map { $0.string ?? $0.text() } ?? "" }
        var lines = [
            "config      \(text("config")): no mistakes found", "objective   \(text("objective"))",
            "parameters  \(text("parameters"))",
            "steps       \(text("total_steps")), \(text("steps_per_epoch")) an epoch",
        ]
        for note in report["data"]?.array ?? [] { lines.append("data        \(note.string ?? "")") }
        for (i, step) in (report["rehearsal"]?.array ?? []).enumerated() {
            let phase = step["phase"]?.string.map { "\($0), " } ?? ""
            lines.append(
                "rehearsal   \(phase)step \(i + 1): loss \(short(step["loss"])), gradient norm \(short(step["grad_norm"])), "
                    + "\(step["tokens"]?.int ?? 0) tokens in \(short(step["seconds"])) s")
        }
        if let memory = report["memory"] {
            let megabytes = { (key: String) in ((memory[key]?.int ?? 0) + (1 << 19)) >> 20 }
            lines.append(
                "memory      weights, reference and optimizer \(megabytes("weights_and_optimizer_bytes")) MiB, tensors at most "
                    + "\(megabytes("tensor_peak_bytes")) MiB, process at most \(megabytes("process_peak_bytes")) MiB"
            )
        }
        return lines.joined(separator: "\n")
    }

    private static func short(_ number: JSON?) -> String {
        let value = number?.double ?? 0
        return "\((value * 10_000).rounded() / 10_000)"
    }

    /// The most memory this process has used.
    private static func peakResidentBytes() -> Int {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss * 1024
    }
}
