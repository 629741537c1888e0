import CKeel
import KeelCore
import KeelTensor

extension Math {
    /// Log-probabilities and what is made of them.
    static let logprobFunctions: [String: Function] = [
        "token_logprobs": tokenLogprobs, "kl_estimate": klEstimate, "kl_full": klFull,
        "kl_controller": klController, "token_rewards": tokenRewards,
    ]

    private static let estimators: KeyValuePairs<String, Int32> = [
        "k1": 1, "k2": 2, "k3": 3, "abs": 4,
    ]

    /// log softmax of position t at label t + 1; labels of -100 are not trained.
    private static func tokenLogprobs(_ q: Request) throws -> JSONObject {
        let logits = try q.array("logits", rank: 3)
        let (rows, length, vocabulary) = (logits.shape[0], logits.shape[1], logits.shape[2])
        let labels = try q.ids("labels", count: rows * length)
        let isMean = try q.choice("of", ["sum": false, "mean": true], default: "sum")
        let weights =
            q.has("weights")
            ? try q.array("weights", like: [rows]) : [Double](repeating: 1, count: rows)
        guard length >= 1, vocabulary >= 1 else { throw q.fail("\"logits\" is empty") }
        let width = length - 1
        var targets: [Int32] = []
        var mask: [Double] = []
        for row in 0..<rows {
            for at in 1..<max(1, length) {
                let label = labels[row * length + at]
                guard label < vocabulary, label >= 0 || label == -100 else {
                    throw q.fail("the label \(label) is outside of the vocabulary of \(vocabulary)")
                }
                targets.append(max(label, 0))
                mask.append(label >= 0 ? 1 : 0)
            }
        }
        let tape = Tape()
        let leaf = tape.leaf(
            Tensor(logits.values, shape: logits.shape, dtype: q.dtype, device: q.device))
        let ids = Tensor(targets, shape: [rows, width, 1], device: q.device)
        let marks = Tensor(mask, shape: [rows, width], dtype: q.dtype, device: q.device)
        let logprobs = leaf.slice(axis: 1, 0, width).logSoftmax().gather(ids).reshaped([
            rows, width,
        ])
        let perRow =
            isMean ? logprobs.mean(axis: 1, mask: marks) : logprobs.sum(axis: 1, mask: marks)
        let sums = isMean ? logprobs.sum(axis: 1, mask: marks) : perRow
        let means = isMean ? perRow : logprobs.mean(axis: 1, mask: marks)
        tape.backward(
            perRow, seed: Tensor(weights, shape: [rows], dtype: q.dtype, device: q.device))
        let cells = logprobs.doubles()
        let gradient =
            tape.gradient(of: leaf)?.doubles() ?? [Double](repeating: 0, count: logits.count)
        return [
            "logprobs": q.answer(
                [rows, width], cells.indices.map { mask[$0] != 0 ? cells[$0] : 0 }),
            "seq_logprobs": q.answer(sums.doubles()),
            "mean_logprobs": q.answer(means.doubles()),
            "grads": .object(["logits": q.answer(logits.shape, gradient)]),
        ]
    }

    private static func klEstimate(_ q: Request) throws -> JSONObject {
        let logprobs = try q.array("logprobs", rank: 2)
        let ref = try q.array("ref_logprobs", like: logprobs.shape)
        let mask = try q.array("mask", like: logprobs.shape)
        let estimator = try q.choice("estimator", estimators, default: "k1")
        let values = logprobs.values
        return [
            "kl": q.answer(
                logprobs.shape, values.indices.map { keel_math_kl(estimator, values[$0], ref[$0]) }),
            "grads": .object([
                "logprobs": q.answer(
                    logprobs.shape,
                    values.indices.map {
                        mask[$0] != 0 ? keel_math_kl_grad(estimator, values[$0], ref[$0]) : 0
                    })
            ]),
        ]
    }

    /// KL(p, q) over the last axis, from logits.
    private static func klFull(_ q: Request) throws -> JSONObject {
        let first = try q.array("logits_p")
        guard first.shape.count >= 1, let width = first.shape.last, width > 0 else {
            throw q.fail("\"logits_p\" is empty")
        }
        let a = first.values
        let b = try q.array("logits_q", like: first.shape)
        let rows = a.count / width
        let out = (0..<rows).map { row -> Double in
            let range = row * width..<(row + 1) * width
            let p = keel_math_logsumexp(Array(a[range]), width)
            let r = keel_math_logsumexp(Array(b[range]), width)
            return range.reduce(0) { sum, i in
                let logp = a[i] - p
                return logp == -.infinity ? sum : sum + exponential(logp) * (logp - (b[i] - r))
            }
        }
        return ["kl": q.answer(Array(first.shape.dropLast()), out)]
    }

    private static func klController(_ q: Request) throws -> JSONObject {
        let observed = try q.array("observed_kl", rank: 1).values
        let counts =
            q.has("n")
            ? try q.array("n", like: [observed.count])
            : [Double](repeating: 1, count: observed.count)
        let isAdaptive = try q.choice(
            "kind", ["adaptive": true, "ppo2017": false], default: "adaptive")
        let target = try q.number("target")
        let horizon = isAdaptive ? try q.number("horizon") : 0
        var coefficients = [try q.number("init")]
        for (kl, n) in zip(observed, counts) {
            let last = coefficients[coefficients.count - 1]
            coefficients.append(
                isAdaptive
                    ? keel_math_kl_adaptive(last, kl, target, horizon, n)
                    : keel_math_kl_ppo2017(last, kl, target))
        }
        return ["kl_coef": q.answer(coefficients)]
    }

    private static func tokenRewards(_ q: Request) throws -> JSONObject {
        let logprobs = try q.array("logprobs", rank: 2)
        let shape = logprobs.shape
        let scores = try q.array("scores", like: [shape[0]])
        let ref = try q.array("ref_logprobs", like: shape)
        let mask = try q.array("mask", like: shape)
        var out = [Double](repeating: 0, count: logprobs.count)
        keel_math_token_rewards(
            &out, scores, logprobs.values, ref, mask, shape[0], shape[1], try q.number("kl_coef"),
            try q.choice("kl_estimator", estimators, default: "k1"))
        return ["rewards": q.answer(shape, out)]
    }
}
