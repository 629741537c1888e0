import KeelCore

/// A line of an online run's `samples.jsonl`.
enum SampleLine {
    /// What a line holds beside a column for each reward's scores, which can have none of these names.
    static let columns = [
        "step", "prompt", "completion", "finish_reason", "used", "weighted", "reward",
    ]

    /// Where a sample holds `{NAME: score}` until it becomes a line.
    static let scores = "scores"

    /// A sample as a line, a column for each reward.
    static func make(step: Int, _ sample: JSONObject) -> JSONObject {
        var line: JSONObject = ["step": JSON(step)]
        for (key, value) in sample {
            if key == scores, let named = value.object {
                for (name, score) in named { line.append(name, score) }
            } else {
                line.append(key, value)
            }
        }
        return line
    }
}
