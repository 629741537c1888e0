import CKeel

// Without gradients: the functions of `keel_math_rows.h` on plain numbers.

/// What importance weights do with ratios out of bounds.
public enum SamplerCorrection: Int32, Sendable {
    /// min(ratio, high) per token.
    case tokenTruncate = 1
    /// The ratio of a token where it is within the bounds, else 0.
    case tokenMask = 2
    /// min(product of the row's ratios, high).
    case sequenceTruncate = 3
    /// That product where it is within the bounds, else 0.
    case sequenceMask = 4
    /// The ratio of a token where the row's geometric mean is within the bounds, else 0.
    case sequenceMaskTokens = 5
}

/// Importance weights of tokens whose sampler and trainer disagree: `[batch, time]`, 0 outside of the mask.
///
///     ratio_t = exp(clamp(oldLogprobs - behaviorLogprobs, ±20))
///
/// - Parameter normalize: divides by the mean weight, over tokens or over rows as the correction works.
public func samplerWeights(
    _ oldLogprobs: Column, _ behaviorLogprobs: Column, mask: Column,
    _ correction: SamplerCorrection, low: Double = 0, high: Double = .infinity,
    normalize: Bool = false
) -> Column {
    var result = oldLogprobs
    let rows = oldLogprobs.shape[0]
    keel_math_sampler_weights(
        &result.values, oldLogprobs.values, behaviorLogprobs.values, mask.values, rows,
        rows > 0 ? oldLogprobs.values.count / rows : 0, correction.rawValue, low, high,
        normalize ? 1 : 0)
    return result
}

/// The soft penalty of long responses: 0 up to `limit - cache` tokens, then linear to `-factor` at `limit`.
///
/// Yu et al. 2025, DAPO, equation 13.
public func overlongPenalty(
    length: Double, limit: Double, cache: Double, factor: Double = 1
) -> Double {
    keel_math_overlong(length, limit, cache, factor)
}

/// The share of a response's n-grams that were there before, 0 to 1; 0 when it is shorter than n.
public func repetition(_ tokens: [Int32], n: Int) -> Double {
    keel_math_repetition(tokens, tokens.count, n, 1)
}

/// The indices of the k best scores, best first, ties to the earlier; NaN only when nothing else is left.
public func best(_ k: Int, of scores: [Double]) -> [Int] {
    let k = Swift.min(Swift.max(k, 0), scores.count)
    var found = [Int64](repeating: 0, count: k)
    keel_math_best_of_n(&found, scores, scores.count, k)
    return found.map(Int.init)
}

/// Draws rows in proportion to weights, with replacement; weights of 0 and below are never drawn.
public struct Priorities: Sendable {
    private var kept: [Int64]
    private var cumulative: [Double]

    /// One weight per row.
    public init(_ weights: [Double]) {
        kept = [Int64](repeating: 0, count: weights.count)
        cumulative = [Double](repeating: 0, count: weights.count)
        let count = keel_math_priorities(&kept, &cumulative, weights, weights.count)
        kept.removeLast(weights.count - count)
        cumulative.removeLast(weights.count - count)
    }
    /// The rows that can be drawn.
    public var rows: [Int] { kept.map(Int.init) }
    /// The row of a random number in [0, 1); nil when no weight is above 0.
    public func draw(_ uniform: Double) -> Int? {
        kept.isEmpty ? nil : Int(kept[keel_math_draw(cumulative, cumulative.count, uniform)])
    }
}

/// A permutation with rows of similar length near each other: sorted in blocks of `blocks` batches, the longest
/// row of all first.
///
/// - Parameter blocks: 0 = a quarter of the batches, at most 50.
public func lengthGrouped(
    _ permutation: [Int], lengths: [Double], batch: Int, blocks: Int = 0
) -> [Int] {
    var order = permutation.map(Int64.init)
    keel_math_length_grouped(
        &order, lengths, order.count, Swift.max(batch, 1), Swift.max(blocks, 0))
    return order.map(Int.init)
}

/// The best and the worst response of each group; the earlier row wins a tie.
///
/// - Parameters:
///   - rewards: `[batch]`; NaN = none, such a row is in no pair.
///   - finished: `[batch]`, 0 costs `penalty`.
///   - group: `[batch]`, equal for responses to the same prompt.
///   - dropTies: leaves out groups whose best and worst rewards are equal.
/// - Returns: row numbers, in the order in which the groups begin.
public func choosePairs(
    rewards: [Double], finished: [Double]? = nil, group: [Double], penalty: Double = 0,
    dropTies: Bool = true
) -> [(chosen: Int, rejected: Int)] {
    var chosen = [Int64](repeating: 0, count: rewards.count / 2)
    var rejected = chosen
    let count = keel_math_choose_pairs(
        &chosen, &rejected, rewards, finished, group.map { Int32($0) }, rewards.count, penalty,
        dropTies ? 1 : 0)
    return (0..<count).map { (Int(chosen[$0]), Int(rejected[$0])) }
}

/// The number below which a share q of the values lies, between two of them in proportion; NaN of none.
public func quantile(_ q: Double, of values: [Double]) -> Double {
    guard !values.isEmpty else { return .nan }
    let sorted = values.sorted()
    let place = Swift.min(Swift.max(q, 0), 1) * Double(sorted.count - 1)
    let low = Int(place)
    let high = Swift.min(low + 1, sorted.count - 1)
    return sorted[low] + (place - Double(low)) * (sorted[high] - sorted[low])
}
