import OrderedCollections

/// The metric of an evaluation that tells how good a policy is.
struct EvaluationMark {
    /// With the prefix `eval_`.
    let metric: String
    let isGreaterBetter: Bool

    /// `metric_for_best_model`, else the reward where answers are judged, else the loss.
    init(_ train: TrainConfig, isOnline: Bool) {
        let generates = isOnline || train.evalGenerations
        var name = train.metricForBestModel ?? (generates ? "eval_reward" : "eval_loss")
        if !name.hasPrefix("eval_") { name = "eval_" + name }
        metric = name
        isGreaterBetter = train.greaterIsBetter ?? !name.hasSuffix("loss")
    }

    /// Its value in an evaluation; nil where there is none, or none that is a number.
    func value(_ values: OrderedDictionary<String, Double>) -> Double? {
        values[metric].flatMap { $0.isFinite ? $0 : nil }
    }

    /// Whether a value is better than another by more than a margin.
    func isBetter(_ value: Double, than other: Double, by margin: Double = 0) -> Bool {
        isGreaterBetter ? value > other + margin : value < other - margin
    }
}
