import KeelCore

/// Percentile bootstrap intervals of a mean.
enum Bootstrap {
    /// The 95 % interval of the mean of `values`, from 2,000 resamples of a fixed seed.
    ///
    /// Pass paired differences or outcomes for a paired interval.
    static func interval(
        _ values: [Double], resamples: Int = 2_000, seed: UInt64
    ) -> (low: Double, high: Double) {
        guard let first = values.first else { return (0, 0) }
        guard values.count > 1 else { return (first, first) }
        let means = (0..<resamples).map { round in
            let stream = RandomStream(seed: seed, place: "bootstrap", UInt64(round))
            var sum = 0.0
            for n in values.indices {
                sum += values[Int(stream.below(UInt64(values.count), UInt64(n)))]
            }
            return sum / Double(values.count)
        }.sorted()
        return (means[Int(0.025 * Double(resamples))], means[Int(0.975 * Double(resamples))])
    }
}
