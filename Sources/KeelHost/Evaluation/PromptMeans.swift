/// Numbers of completions, averaged over those of a prompt: what is resampled are prompts.
struct PromptMeans {
    /// A mean for each prompt that has one.
    let values: [Double]

    /// - Parameters:
    ///   - numbers: `[completion]`, `count` for each prompt; NaN where there is none.
    init(_ numbers: [Double], count: Int) {
        values = stride(from: 0, to: numbers.count, by: count).compactMap { start in
            let own = numbers[start..<min(start + count, numbers.count)].filter { !$0.isNaN }
            return own.isEmpty ? nil : Statistics.mean(own)
        }
    }

    var mean: Double { Statistics.mean(values) }

    /// The bootstrap interval of the mean, 95 %.
    func interval(seed: UInt64) -> (low: Double, high: Double) {
        Bootstrap.interval(values, seed: seed)
    }
}
