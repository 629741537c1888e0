import CKeel
import KeelCore

/// Running mean and variance of a reward's scores (`keel_math.h`).
package struct RunningMoments: Sendable, Equatable {
    package private(set) var mean = 0.0
    package private(set) var variance = 1.0
    package private(set) var count = 1e-24

    package init() {}

    /// The standard deviation so far (n - 1): 1 while fewer than two scores were seen, never below 1e-8.
    package var std: Double {
        var raw = raw
        return keel_math_moments_std(&raw)
    }

    /// Takes a batch of scores in; none of them NaN.
    package mutating func add(_ scores: [Double]) {
        var raw = raw
        keel_math_moments_add(&raw, scores, scores.count)
        (mean, variance, count) = (raw.mean, raw.var, raw.count)
    }

    private var raw: keel_moments { keel_moments(mean: mean, var: variance, count: count) }

    /// For checkpoints, exact.
    package var json: JSON { [.double(mean), .double(variance), .double(count)] }

    /// The inverse of `json`; nil for anything else.
    package init?(json: JSON?) {
        let numbers = (json?.array ?? []).compactMap(\.number)
        guard numbers.count == 3, numbers.allSatisfy(\.isFinite), numbers[2] > 0 else { return nil }
        (mean, variance, count) = (numbers[0], numbers[1], numbers[2])
    }
}

/// What the host does with combined rewards (`keel_math.h`).
package enum RewardMath {
    /// Whether the gate's score decides: the prompt is tagged, or the score is below the threshold.
    package static func usesGate(_ score: Double, isTagged: Bool, threshold: Double) -> Bool {
        keel_math_uses_safety(score, isTagged ? 1 : 0, threshold) != 0
    }

    /// log(p / (1 - p)), p held within [1e-6, 1 - 1e-6].
    package static func logit(_ p: Double) -> Double { keel_math_logit(p) }

    /// (x - mean) / sqrt(var + 1e-8) over the numbers among the cells; NaN stays NaN.
    package static func whiten(_ x: [Double]) -> [Double] {
        let mask = x.map { $0.isNaN ? 0.0 : 1.0 }
        var out = [Double](repeating: 0, count: x.count)
        keel_math_whiten(&out, x, mask, x.count, 0, 1e-8, 1)
        return zip(x, out).map { $0.isNaN ? .nan : $1 }
    }

    /// Scores on one scale: each function normalised in its group, weighed, summed, normalised over the batch.
    ///
    ///     z_k = (x_k - mean_g x_k) / (std_g x_k + 1e-4),   S = sum_k weight_k z_k,   (S - mean S) / (std S + 1e-4)
    ///
    /// TRL's `normalize_then_sum`; standard deviations are unbiased.
    ///
    /// - Parameters:
    ///   - scores: `[function][row]`; NaN: does not apply, and is in no statistic.
    ///   - group: `[row]`, equal for responses to one prompt.
    /// - Returns: `[row]`; NaN where no function applies.
    package static func normalizeThenSum(
        _ scores: [[Double]], weights: [Double], group: [Int32]
    ) -> [Double] {
        let cells = group.indices.flatMap { row in scores.map { $0[row] } }
        var options = keel_group_options()
        options.normalize_then_sum = 1
        options.eps = 1e-4
        var sums = [Double](repeating: 0, count: group.count)
        var out = sums
        keel_math_group_advantages(
            &sums, &out, cells, weights, group, nil, nil, group.count, scores.count, &options)
        return zip(sums, out).map { $0.isNaN ? .nan : $1 }
    }

    /// DAPO's soft overlong punishment.
    package static func overlong(
        _ length: Double, maxLength: Double, cache: Double, factor: Double
    ) -> Double {
        keel_math_overlong(length, maxLength, cache, factor)
    }

    /// The score of a response that may have been cut at the length limit.
    package static func stopProperly(_ score: Double, isTruncated: Bool, _ coef: Double) -> Double {
        keel_math_stop_properly(score, isTruncated ? 1 : 0, coef)
    }
}

extension Math {
    /// Many rewards, one number: gate, length shaping, repetition.
    static let rewardFunctions: [String: Function] = [
        "gated_reward": gatedReward, "overlong_penalty": overlongPenalty,
        "stop_properly": stopProperly, "repetition_penalty": repetitionPenalty,
    ]

    private static func gatedReward(_ q: Request) throws -> JSONObject {
        let safety = try q.array("safety", rank: 1)
        let helpfulness = try q.array("helpfulness", like: safety.shape)
        let tags = try q.array("is_safety_prompt", like: safety.shape)
        let kl = try q.array("sequence_kl", like: safety.shape)
        let threshold = try q.number("threshold", 0.15)
        let coef = try q.number("kl_coef", 0)
        let uses = zip(safety.values, tags).map {
            RewardMath.usesGate($0, isTagged: $1 != 0, threshold: threshold)
        }
        let combined = uses.indices.map { uses[$0] ? safety.values[$0] : helpfulness[$0] }
        let logit = combined.map(RewardMath.logit)
        let whitened = RewardMath.whiten(logit)
        return [
            "uses_safety": q.answer(uses.map { $0 ? 1 : 0 }), "combined": q.answer(combined),
            "logit": q.answer(logit), "whitened": q.answer(whitened),
            "reward": q.answer(zip(whitened, kl).map { $0 - coef * $1 }),
        ]
    }

    private static func overlongPenalty(_ q: Request) throws -> JSONObject {
        let lengths = try q.array("lengths")
        let longest = try q.number("max_length")
        let cache = try q.number("cache")
        let factor = try q.number("factor", 1)
        guard cache >= 0, longest > 0 else { throw q.fail("\"cache\" is \(cache)") }
        let penalties = lengths.values.map {
            RewardMath.overlong($0, maxLength: longest, cache: cache, factor: factor)
        }
        return ["penalty": q.answer(lengths.shape, penalties)]
    }

    private static func stopProperly(_ q: Request) throws -> JSONObject {
        let scores = try q.array("scores")
        let truncated = try q.array("truncated", like: scores.shape)
        let coef = try q.number("coef")
        let out = zip(scores.values, truncated).map {
            RewardMath.stopProperly($0, isTruncated: $1 != 0, coef)
        }
        return ["scores": q.answer(scores.shape, out)]
    }

    private static func repetitionPenalty(_ q: Request) throws -> JSONObject {
        guard let sequences = q.object["sequences"]?.array else {
            throw q.fail("\"sequences\" must be a list of lists of ids")
        }
        let size = try q.number("n")
        let most = try q.number("max_penalty")
        guard size >= 1, size <= 1e6, size == size.rounded() else {
            throw q.fail("\"n\" is \(size), not a number of tokens")
        }
        let penalties = try sequences.map { list in
            let ids = try (list.array ?? []).map {
                guard let id = $0.int.flatMap({ Int32(exactly: $0) }) else {
                    throw q.fail("\"sequences\" holds \($0.kind) where an id is needed")
                }
                return id
            }
            return keel_math_repetition(ids, ids.count, Int(size), most)
        }
        return ["penalty": q.answer(penalties)]
    }
}
