import KeelBridge
import KeelCore

/// All that a checkpoint at the end of a step holds beside weights and moments.
///
/// Taken before the next step touches anything: a step that fails half-way may leave plugins in a state that
/// no run without the failure would have had. Weights and moments need no copy; the optimizer's step comes
/// last in a step, and `optimizerSteps` tells whether it has come.
struct Boundary {
    /// Steps done.
    var step: Int
    /// Steps that the optimizer had taken.
    var optimizerSteps: Int
    var tokens: Int
    var lossSum: Double
    var window: StepMetrics
    var loop: LoopSnapshot
    var objective: Instance.State?
    /// The evaluation that follows this step has not been made yet.
    var isEvaluationDue = false

    /// The part of `keel_state.json` that this decides.
    var state: JSONObject {
        var state: JSONObject = [
            "step": JSON(step), "num_tokens": JSON(tokens), "loss_sum": .double(lossSum),
            "window": window.json, "loop": loop.json,
        ]
        if isEvaluationDue { state["evaluation_due"] = true }
        if let objective { state["objective"] = objective.json }
        return state
    }
}

/// What a loop needs to go on, beside model, optimizer and step number.
///
/// Values, written out only when a checkpoint is: a rollout is large, and most steps write none.
struct LoopSnapshot {
    private let render: () -> JSON

    /// - Parameter render: works on copies alone; it may run after the loop has gone on, and on another thread.
    init(_ render: @escaping () -> JSON) {
        self.render = render
    }

    var json: JSON { render() }
}
