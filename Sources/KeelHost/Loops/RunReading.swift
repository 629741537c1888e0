import Glibc
import KeelBridge
import KeelCore
import KeelData
import KeelTensor
import KeelText

/// How a run begins: what its config, its objective and its data files say, before any model is loaded.
///
/// `train`, `check` and `data inspect` all begin so.
struct RunReading {
    let threads: Int
    let device: Device
    let tokenizer: Tokenizer
    let objective: ObjectiveInstance
    /// The heads that the objective asks for.
    var plan: HeadPlan
    /// In order; at least one.
    var phases: [PlannedPhase]
    /// The rows, by the kind that phases name.
    var data: [String: RunData] = [:]

    /// Makes the objective and reads and tokenises the data of its phases.
    ///
    /// - Throws: `KeelError` or `KeelErrors` about tokenizer, objective, phases and rows.
    init(_ config: RunConfig, _ plugins: RunPlugins, catalog: PluginCatalog) throws {
        threads = config.train.threads ?? max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
        device = Device.cpu(threads: threads)
        tokenizer = try Tokenizer.load(directory: config.model.path)
        let component = plugins.objective.component
        plan = try HeadPlan(component, config)
        // Data before models: it is the likeliest to be wrong, and cheap to read.
        objective = try ObjectiveInstance(
            component, catalog: catalog, parameters: plugins.objective.parameters,
            seed: UInt64(config.train.seed), device: device,
            context: CallContext(facts: RunReading.facts(config)))
        phases = try PlannedPhase.all(objective, plugins.objective.parameters, config, plan)
        for phase in phases where data[phase.dataKind] == nil {
            data[phase.dataKind] = try RunData(
                config, kind: phase.dataKind, component: component, tokenizer: tokenizer)
        }
    }

    /// What the config alone tells plugins of the run.
    static func facts(_ config: RunConfig) -> [String: Double] {
        let perStep = config.train.rowsPerStep
        return [
            "temperature": config.sampler.temperature,
            "max_completion_length": Double(config.data.maxCompletionLength ?? 512),
            "num_generations": Double(config.train.numGenerations),
            "rows_per_step": Double(perStep),
            "rollout_rows": Double(config.train.rolloutBatchSize ?? perStep),
        ]
    }
}
