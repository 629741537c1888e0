import KeelBridge
import KeelCore
import OrderedCollections

/// Where the batches of a run come from.
///
/// Two loops serve all objectives: offline and online.
protocol TrainingLoop: AnyObject {
    /// Gets ready for the first step of this process: a new phase begins, or a restored one goes on.
    func begin() throws
    /// Optimizer steps of one pass over the data; known for certain after `begin`.
    var stepsPerEpoch: Int { get }
    /// Steps of the phase that make so many passes over the data; known for certain after `begin`.
    func steps(epochs: Double) -> Int
    /// Passes over the data that are finished after `steps` optimizer steps.
    func epoch(after steps: Int) -> Double
    /// Makes optimizer step `step` (from 0).
    func step(_ step: Int) throws -> StepResult
    /// The rows of the steps from `step` on, `count` at most, as far as their order is known: to the end of the
    /// epoch.
    func planned(from step: Int, count: Int) throws -> [PlannedRows]
    /// What evaluation on the validation data gives, without the prefix `eval_`.
    func evaluate(step: Int) throws -> OrderedDictionary<String, Double>
    /// A few completions of the model as it is, for `samples.jsonl`.
    func samples(step: Int) throws -> [JSONObject]
    /// What a run that goes on with `nextStep` needs beside model, optimizer and step number; asked for before
    /// every step.
    func snapshot(nextStep: Int) throws -> LoopSnapshot
    func restore(_ state: JSON) throws
    /// The reference has become another model: what was made with it is made anew when the loop begins again, at
    /// the phase's step `step`.
    func renew(at step: Int) throws
    /// Writes caches that outlive the run.
    func flushCaches()
}

/// Steps that hold so many, held to what can still be counted with.
func wholeSteps(_ steps: Double) -> Int { Int(min(steps.rounded(.up), 1e15)) }

extension TrainingLoop {
    func steps(epochs: Double) -> Int {
        max(1, wholeSteps(epochs * Double(stepsPerEpoch)))
    }

    func renew(at step: Int) throws {}
}

struct StepResult {
    var loss: Double
    var gradNorm: Double
    var learningRate: Double
    var tokens: Int
    /// In the order they are logged.
    var metrics: OrderedDictionary<String, Double>
}

extension StepResult {
    /// What every update reports: loss, norm, entropy, accuracy, and the objective's own metrics.
    init(_ outcome: PolicyUpdate.Outcome) {
        loss = outcome.loss
        gradNorm = outcome.gradNorm
        learningRate = outcome.learningRate
        tokens = outcome.tokens
        metrics = [:]
        for (name, value) in outcome.trainerMetrics { metrics[name] = value }
        metrics["entropy"] = outcome.entropy
        metrics["mean_token_accuracy"] = outcome.accuracy
        for (name, value) in outcome.metrics.values { metrics[name] = value }
    }
}
