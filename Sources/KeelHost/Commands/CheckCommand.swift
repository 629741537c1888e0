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
        let lasting = setup.device.memory.used
        let plan = try setup.checkMemory()
        var report: JSONObject = [
            "config": .string(options.configPath),
            "objective": .string(plugins.objective.component.name),
            "parameters": JSON(setup.model.parameterCount), "total_steps": JSON(setup.totalSteps),
            "steps_per_epoch": JSON(setup.loop.stepsPerEpoch),
            "data": .array(setup.notes.map { .string($0) }),
        ]
        if let plan { report["memory_plan"] = .object(plan.json) }
        guard rehearse else { return .object(report) }
        let rehearsed = setup.memoryPlan(count: 2)
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
            "process_peak_bytes": JSON(Machine.peakResidentBytes),
            "planned_peak_bytes": rehearsed.map { JSON($0.peak) } ?? .null,
            "planned_tensor_bytes": rehearsed.map { JSON($0.tensors) } ?? .null,
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
        lines += memory(report)
        return lines.joined(separator: "\n")
    }

    private static func memory(_ report: JSON) -> [String] {
        func text(_ bytes: JSON?) -> String { MemoryPlan.text(bytes?.int ?? 0) }
        var lines: [String] = []
        if let plan = report["memory_plan"] {
            let passing = plan["passing"]?.object?.max { ($0.value.int ?? 0) < ($1.value.int ?? 0) }
            let parts =
                (plan["lasting"]?.object.map(Array.init) ?? []) + (passing.map { [$0] } ?? [])
            lines.append(
                "memory      planned \(text(plan["peak_bytes"])): "
                    + parts.map { "\($0.key) \(text($0.value))" }.joined(separator: ", "))
            if let tokens = plan["longest_micro_batch_tokens"]?.int {
                lines.append(
                    "            longest micro-batch: \(tokens) tokens, step \(plan["longest_micro_batch_step"]?.int ?? 0)"
                )
            }
        }
        if let memory = report["memory"] {
            lines.append(
                "            measured \(text(memory["process_peak_bytes"])) in the rehearsal, whose steps were planned at \(text(memory["planned_peak_bytes"]))"
            )
        }
        return lines
    }

    private static func short(_ number: JSON?) -> String {
        let value = number?.double ?? 0
        return "\((value * 10_000).rounded() / 10_000)"
    }
}
