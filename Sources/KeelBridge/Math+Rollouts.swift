import CKeel
import KeelCore

extension Math {
    /// Whole rows: roll-outs, which rows are taken and in which order.
    static let rolloutFunctions: [String: Function] = [
        "score_position": scorePosition, "sampler_weights": samplerWeights,
        "choose_pairs": choosePairs, "mix_reference": mixReference, "best_of_n": bestOfN,
        "keep_groups": keepGroups, "priority_draw": priorityDraw, "length_grouped": lengthGrouped,
        "repeat_order": repeatOrder,
    ]

    private static func scorePosition(_ q: Request) throws -> JSONObject {
        let shape = try q.array("ids", rank: 2).shape
        let (rows, length) = (shape[0], shape[1])
        let ids = try q.ids("ids")
        let isLast = try q.choice(
            "rule", ["last_token": true, "last_non_pad": false], default: "last_token")
        let lengths =
            isLast && q.has("lengths")
            ? try q.array("lengths", like: [rows])
            : [Double](repeating: Double(length), count: rows)
        let pad = isLast ? 0 : try q.id("pad_token_id")
        let index = (0..<rows).map { row -> Double in
            if isLast { return max(0, lengths[row] - 1) }
            let line = Array(ids[row * length..<(row + 1) * length])
            return Double(keel_math_last_position(line, length, pad))
        }
        return ["index": q.answer(index)]
    }

    private static func samplerWeights(_ q: Request) throws -> JSONObject {
        let old = try q.array("old_logprobs", rank: 2)
        let behavior = try q.array("behavior_logprobs", like: old.shape)
        let mask = try q.array("mask", like: old.shape)
        let mode = try q.choice(
            "mode",
            [
                "token_truncate": KEEL_WEIGHT_TOKEN_TRUNCATE, "token_mask": KEEL_WEIGHT_TOKEN_MASK,
                "sequence_truncate": KEEL_WEIGHT_SEQUENCE_TRUNCATE,
                "sequence_mask": KEEL_WEIGHT_SEQUENCE_MASK,
                "seq_mask_tis": KEEL_WEIGHT_SEQ_MASK_TIS,
            ], default: "token_truncate")
        var out = [Double](repeating: 0, count: old.count)
        keel_math_sampler_weights(
            &out, old.values, behavior, mask, old.shape[0], old.shape[1], Int32(mode),
            try q.number("clip_min", 0), try q.number("clip_max", .infinity),
            try q.flag("normalize", false) ? 1 : 0)
        return ["weights": q.answer(old.shape, out)]
    }

    private static func choosePairs(_ q: Request) throws -> JSONObject {
        let rewards = try q.array("rewards", rank: 1).values
        let finished =
            q.has("finished")
            ? try q.array("finished", like: [rewards.count])
            : [Double](repeating: 1, count: rewards.count)
        let group = try q.ids("group", count: rewards.count)
        let drops = try q.choice("ties", ["drop": true, "first": false], default: "drop")
        var chosen = [Int64](repeating: 0, count: rewards.count)
        var rejected = chosen
        let count = keel_math_choose_pairs(
            &chosen, &rejected, rewards, finished, group, rewards.count,
            try q.number("missing_eos_penalty", 0), drops ? 1 : 0)
        return [
            "chosen": q.answer(chosen.prefix(count).map(Double.init)),
            "rejected": q.answer(rejected.prefix(count).map(Double.init)),
        ]
    }

    private static func mixReference(_ q: Request) throws -> JSONObject {
        let ref = try q.array("ref")
        var out = ref.values
        keel_math_mix_reference(
            &out, try q.array("policy", like: ref.shape), out.count, try q.number("alpha"))
        return ["ref": q.answer(ref.shape, out)]
    }

    private static func bestOfN(_ q: Request) throws -> JSONObject {
        let scores = try q.array("scores", rank: 2)
        let (rows, n) = (scores.shape[0], scores.shape[1])
        let k = try q.count(try q.number("k", 1))
        guard n > 0, k >= 1, k <= n else { throw q.fail("\"k\" is \(k), not within 1...\(n)") }
        let best = (0..<rows).flatMap { row -> [Double] in
            var found = [Int64](repeating: 0, count: k)
            keel_math_best_of_n(
                &found, Array(scores.values[row * n..<(row + 1) * n]), n, k)
            return found.map(Double.init)
        }
        return [
            "best": q.answer(stride(from: 0, to: best.count, by: k).map { best[$0] }),
            "best_k": q.answer([rows, k], best),
        ]
    }

    private static func keepGroups(_ q: Request) throws -> JSONObject {
        let outcomes = try q.array("outcomes", rank: 2)
        let (rows, n) = (outcomes.shape[0], outcomes.shape[1])
        let (low, high) = (try q.number("low", 0), try q.number("high", 1))
        let kept = (0..<rows).map { row in
            keel_math_keep_group(Array(outcomes.values[row * n..<(row + 1) * n]), n, low, high)
        }
        return [
            "mixed": q.answer(kept.map { $0 & 1 != 0 ? 1 : 0 }),
            "band": q.answer(kept.map { $0 & 2 != 0 ? 1 : 0 }),
        ]
    }

    private static func priorityDraw(_ q: Request) throws -> JSONObject {
        let weights = try q.array("weights", rank: 1).values
        guard weights.allSatisfy({ $0 >= 0 && $0.isFinite }) else {
            throw q.fail("\"weights\" must be finite numbers of at least 0")
        }
        let uniforms = try q.array("uniforms", rank: 1).values
        var kept = [Int64](repeating: 0, count: weights.count)
        var cumulative = [Double](repeating: 0, count: weights.count)
        let count = keel_math_priorities(&kept, &cumulative, weights, weights.count)
        guard count > 0 || uniforms.isEmpty else { throw q.fail("no weight is above 0") }
        let total = weights.reduce(0, +)
        return [
            "kept": q.answer(kept.prefix(count).map(Double.init)),
            "probabilities": q.answer(kept.prefix(count).map { weights[Int($0)] / total }),
            "cumulative": q.answer(Array(cumulative.prefix(count))),
            "picks": q.answer(
                uniforms.map { Double(kept[keel_math_draw(cumulative, count, $0)]) }),
        ]
    }

    /// A permutation of the rows.
    private static func permutation(_ q: Request) throws -> [Int64] {
        let order = try q.array("permutation", rank: 1).values
        guard order.map({ Int64(exactly: $0) ?? -1 }).sorted() == (0..<order.count).map(Int64.init)
        else { throw q.fail("\"permutation\" is no permutation of 0 ..< \(order.count)") }
        return order.map { Int64($0) }
    }

    private static func lengthGrouped(_ q: Request) throws -> JSONObject {
        var order = try permutation(q)
        let lengths = try q.array("lengths", like: [order.count])
        keel_math_length_grouped(
            &order, lengths, order.count, try q.count(try q.number("batch_size")),
            try q.count(try q.number("mega_batch_mult", 0)))
        return ["order": q.answer(order.map(Double.init))]
    }

    private static func repeatOrder(_ q: Request) throws -> JSONObject {
        let rows = try permutation(q)
        let batch = try q.count(try q.number("batch_size"))
        let group = try q.count(try q.number("group"))
        let repeats = try q.count(try q.number("repeat_count", 1))
        guard group < 1 << 16, repeats < 1 << 16 else { throw q.fail("the order is too long") }
        let count = keel_math_repeat_order(nil, rows, rows.count, batch, group, repeats)
        var order = [Int64](repeating: 0, count: count)
        _ = keel_math_repeat_order(&order, rows, rows.count, batch, group, repeats)
        return ["order": q.answer(order.map(Double.init))]
    }
}

extension Math.Request {
    /// One id given as a number.
    fileprivate func id(_ name: String) throws -> Int32 {
        let value = try number(name)
        guard let id = Int32(exactly: value) else {
            throw fail("\"\(name)\" is \(value), not an id")
        }
        return id
    }
}
