import CKeel
import Glibc
import KeelCore

/// e^x; the name `exp` is taken by tensors where both are visible.
func exponential(_ x: Double) -> Double { exp(x) }

extension Math {
    /// Returns, advantages and the statistics they need.
    static let advantageFunctions: [String: Function] = [
        "gae": gae, "returns_to_go": returnsToGo, "whiten": whiten,
        "group_advantages": groupAdvantages,
        "running_moments": runningMoments,
    ]

    private static func gae(_ q: Request) throws -> JSONObject {
        let rewards = try q.array("rewards", rank: 2)
        let shape = rewards.shape
        let values = try q.array("values", like: shape)
        let mask = try q.array("mask", like: shape)
        let bootstrap =
            q.has("bootstrap_values")
            ? try q.array("bootstrap_values", like: [shape[0]])
            : [Double](repeating: 0, count: shape[0])
        var advantages = [Double](repeating: 0, count: rewards.count)
        var returns = advantages
        keel_math_gae(
            &advantages, &returns, rewards.values, values, mask, bootstrap, shape[0], shape[1],
            try q.number("gamma", 1), try q.number("lam", 1))
        return ["advantages": q.answer(shape, advantages), "returns": q.answer(shape, returns)]
    }

    private static func returnsToGo(_ q: Request) throws -> JSONObject {
        let rewards = try q.array("rewards", rank: 2)
        let shape = rewards.shape
        let mask = try q.array("mask", like: shape)
        let baseline =
            q.has("baseline")
            ? try q.array("baseline", like: [shape[0]]) : [Double](repeating: 0, count: shape[0])
        var out = [Double](repeating: 0, count: rewards.count)
        keel_math_returns_to_go(
            &out, rewards.values, mask, baseline, shape[0], shape[1], try q.number("gamma", 1))
        return ["returns": q.answer(shape, out)]
    }

    private static func whiten(_ q: Request) throws -> JSONObject {
        let x = try q.array("x")
        let mask =
            q.has("mask")
            ? try q.array("mask", like: x.shape) : [Double](repeating: 1, count: x.count)
        let isUnbiased = try q.choice(
            "variance", ["biased": false, "unbiased": true], default: "biased")
        var out = [Double](repeating: 0, count: x.count)
        keel_math_whiten(
            &out, x.values, mask, x.count, isUnbiased ? 1 : 0, try q.number("eps", 1e-8),
            try q.flag("shift", true) ? 1 : 0)
        return ["y": q.answer(x.shape, out)]
    }

    private static func groupAdvantages(_ q: Request) throws -> JSONObject {
        var rewards = try q.array("rewards")
        if rewards.shape.count == 1 { rewards = Column(shape: [rewards.count, 1], rewards.values) }
        guard rewards.shape.count == 2 else {
            throw q.fail("\"rewards\" has shape \(rewards.shape), needs [N, F]")
        }
        let (n, functions) = (rewards.shape[0], rewards.shape[1])
        let group = try q.ids("group", count: n)
        let weights =
            q.has("weights")
            ? try q.array("weights", like: [functions]) : [Double](repeating: 1, count: functions)
        let kl =
            q.has("sequence_kl")
            ? try q.array("sequence_kl", like: [n]) : [Double](repeating: 0, count: n)
        let lengths =
            q.has("lengths") ? try q.array("lengths", like: [n]) : [Double](repeating: 1, count: n)
        var options = keel_group_options()
        options.baseline = try q.choice(
            "baseline", ["none": 0, "mean": 1, "leave_one_out": 2, "length_weighted": 3],
            default: "mean")
        options.scale = try q.choice("scale", ["none": 0, "group": 1, "batch": 2], default: "none")
        options.normalize_then_sum = try q.choice(
            "combine", ["sum_then_normalize": 0, "normalize_then_sum": 1],
            default: "sum_then_normalize")
        options.eps = try q.number("eps", 1e-4)
        options.kl_coef = try q.number("kl_coef", 0)
        if q.has("reward_clip_range") {
            let range = try q.array("reward_clip_range").values
            guard range.isEmpty || range.count == 2 else {
                throw q.fail("\"reward_clip_range\" is [low, high] or []")
            }
            if range.count == 2 { (options.clip_low, options.clip_high) = (range[0], range[1]) }
        }
        var sums = [Double](repeating: 0, count: n)
        var advantages = sums
        keel_math_group_advantages(
            &sums, &advantages, rewards.values, weights, group, kl, lengths, n, functions, &options)
        return ["rewards": q.answer(sums), "advantages": q.answer(advantages)]
    }

    private static func runningMoments(_ q: Request) throws -> JSONObject {
        guard let batches = q.object["batches"]?.array else {
            throw q.fail("\"batches\" must be a list of lists")
        }
        let mode = try q.choice("mode", ["none": 0, "scale": 1, "normalize": 2], default: "none")
        let clip = try q.number("clip", 0)
        var moments = keel_moments(mean: 0, var: 1, count: 1e-24)
        var rows: (mean: [Double], variance: [Double], std: [Double], count: [Double]) = (
            [], [], [], []
        )
        var scaled: [JSON] = []
        for batch in batches {
            var x = try Arrays.cells(batch, name: "batches").values
            if q.dtype == .f32 { x = x.map { Double(Float($0)) } }
            keel_math_moments_add(&moments, x, x.count)
            let std = keel_math_moments_std(&moments)
            rows.mean.append(moments.mean)
            rows.variance.append(moments.var)
            rows.std.append(std)
            rows.count.append(moments.count)
            let out = x.map { value -> Double in
                let y = mode == 0 ? value : (value - (mode == 2 ? moments.mean : 0)) / std
                return clip > 0 ? keel_math_clamp(y, -clip, clip) : y
            }
            scaled.append(.array(out.map(JSON.double)))
        }
        return [
            "mean": q.answer(rows.mean), "var": q.answer(rows.variance), "std": q.answer(rows.std),
            "count": q.answer(rows.count), "scaled": .array(scaled),
        ]
    }
}
