import KeelCore

extension NN {
    /// What the LM head says about each row.
    package struct Logprobs: Sendable {
        /// log softmax(z)[target], f32 (f64 under f64) `[rows]`, differentiable.
        package let logprobs: Tensor
        /// -Σ p log p in nats `[rows]`, differentiable; only when asked for.
        package let entropy: Tensor?
        /// Σ_v log p(v) / V `[rows]`, differentiable; only when asked for.
        package let vocabLogprobs: Tensor?
        /// 1 where the target is the likeliest token (the first of equals), i32 `[rows]`; only when asked for.
        package let correct: Tensor?
    }

    /// The LM head and the log-probability of the targets, without the logits of all rows at once.
    ///
    ///     z = softcap tanh(h W^T / softcap) / temperature,   logprob = z[target] - log Σ e^z
    ///
    /// The forward pass keeps log Σ e^z per row, and e^z of as many chunks of the vocabulary as there is room for; the
    /// backward pass computes the others again, a chunk at a time: the same bits.
    ///
    /// - Parameters:
    ///   - hidden: `[rows, hidden]`.
    ///   - weight: `[vocabulary, hidden]`; may be the tied embedding.
    ///   - targets: i32 `[rows]`.
    ///   - bytes: room for e^z where derivatives are wanted, in the type of the states.
    package static func logprobs(
        _ hidden: Tensor, weight: Tensor, targets: Tensor, temperature: Float = 1,
        softcap: Float? = nil,
        entropy: Bool = false, vocabulary: Bool = false, argmax: Bool = false,
        keeping bytes: Int = 0
    ) -> Logprobs {
        precondition(
            hidden.columns == weight.columns && targets.count == hidden.rows && temperature > 0,
            "LM head \(weight.shape) on \(hidden.shape), \(targets.count) targets")
        let head = LMHead(temperature: Double(temperature), softcap: Double(softcap ?? 0))
        let (h0, w0) = (hidden.detach(), weight.detach())
        let rows = head.forward(
            h0, w0, targets, entropy: entropy, vocabulary: vocabulary,
            keeping: hidden.isTracked || weight.isTracked ? bytes : nil)
        let n = hidden.rows
        let type = hidden.dtype.accumulator
        let lines = 1 + (entropy ? 1 : 0) + (vocabulary ? 1 : 0)
        let all = Tensor(
            rows.logprobs + rows.entropy + rows.vocabLogprobs, shape: [lines, n], dtype: type,
            device: hidden.device)
        let tracked = Tape.record([hidden, weight], all) { g in
            let dy = g.dy.doubles()
            let none = [Double](repeating: 0, count: n)
            let slopes = LMHead.Slopes(
                logprobs: Array(dy[..<n]), entropy: entropy ? Array(dy[n..<2 * n]) : none,
                vocabLogprobs: vocabulary ? Array(dy[(lines - 1) * n..<lines * n]) : none)
            func back(_ dHidden: Tensor?, _ dWeight: Tensor?) {
                head.backward(
                    h0, w0, targets, rows, slopes, dHidden: dHidden, dWeight: dWeight)
            }
            func withHidden(_ dWeight: Tensor?) {
                if g.needs(0) {
                    g.accumulate(0, like: h0) { back($0, dWeight) }
                } else {
                    back(nil, dWeight)
                }
            }
            if g.needs(1) { g.accumulate(1, like: w0) { withHidden($0) } } else { withHidden(nil) }
        }
        let correct =
            argmax
            ? Tensor(
                zip(rows.best, targets.ints()).map { $0 == $1 ? Int32(1) : 0 },
                device: hidden.device)
            : nil
        return Logprobs(
            logprobs: tracked.slice(axis: 0, 0, 1).reshaped([n]),
            entropy: entropy ? tracked.slice(axis: 0, 1, 2).reshaped([n]) : nil,
            vocabLogprobs: vocabulary
                ? tracked.slice(axis: 0, lines - 1, lines).reshaped([n]) : nil, correct: correct)
    }

    /// z = h W^T for a few rows, f32 (f64 under f64) `[rows, vocabulary]`, without a gradient.
    ///
    /// - Parameter packed: the weight, where it was packed before.
    package static func logits(
        _ hidden: Tensor, weight: Tensor, packed: PackedMatrix? = nil
    ) -> Tensor {
        let z = Tensor(
            uninitialized: [hidden.rows, weight.rows], hidden.dtype.accumulator, hidden.device)
        StageClock.measure(.head, flops: 2 * Double(hidden.rows) * Double(weight.count)) {
            if let packed {
                packed.multiply(z, hidden.detach())
            } else {
                Matmul.rows(z, hidden.detach(), weight.detach(), transposed: true)
            }
        }
        return z
    }
}
