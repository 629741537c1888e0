import KeelTensor

/// Causal self-attention over packed rows, with grouped key and value heads.
package struct Attention: Sendable {
    /// Where queries, keys and values come from.
    package enum Projection: Sendable {
        case separate(query: Linear, key: Linear, value: Linear)
        /// One matrix; the outputs are all queries, then all keys, then all values.
        case fused(Linear)
        /// One matrix; the outputs are head after head, each its query, key and value (GPT-NeoX).
        case interleaved(Linear)
    }

    /// From the residual stream to the heads.
    package var projection: Projection
    /// From the heads back to the residual stream.
    package var output: Linear
    /// Query heads.
    package var heads: Int
    /// Key and value heads; `heads` is a multiple of it.
    package var kvHeads: Int
    /// Cells of a head.
    package var headSize: Int
    /// On the products of queries and keys.
    package var scale: Float
    /// Over each query head before it is turned; nil = none.
    package var queryNorm: Norm?
    /// Over each key head before it is turned; nil = none.
    package var keyNorm: Norm?
    /// Rotary positions; nil where positions are learned.
    package var rope: Rope?
    /// A token sees this many tokens, itself included; nil = all before it.
    package var window: Int?
    /// Scores become cap * tanh(scores / cap); nil = no cap.
    package var softcap: Float?

    /// Scores are scaled by 1 / sqrt(headSize).
    package init(
        _ projection: Projection, output: Linear, heads: Int, kvHeads: Int, headSize: Int,
        rope: Rope? = nil
    ) {
        self.projection = projection
        self.output = output
        self.heads = heads
        self.kvHeads = kvHeads
        self.headSize = headSize
        self.rope = rope
        scale = Float(1 / Double(headSize).squareRoot())
    }

    /// Every tensor of the layer.
    package var weights: [Weight] {
        let projected =
            switch projection {
            case .separate(let query, let key, let value):
                query.weights + key.weights + value.weights
            case .fused(let all), .interleaved(let all): all.weights
            }
        return projected + (queryNorm?.weights ?? []) + (keyNorm?.weights ?? []) + output.weights
    }

    /// - Parameters:
    ///   - x: `[rows, hidden]`
    ///   - layer: the block's number, for the cache.
    /// - Returns: what the heads found, `[rows, heads * headSize]`, in front of `output`.
    func callAsFunction(_ x: Tensor, layer: Int, _ pass: Pass) -> Tensor {
        var (q, k, v) = project(x, pass)
        if let queryNorm { q = queryNorm(q, pass) }
        if let keyNorm { k = keyNorm(k, pass) }
        if let rope {
            q = NN.rope(
                q, heads: heads, positions: pass.positions, frequencies: rope.frequencies,
                scale: rope.scale)
            k = NN.rope(
                k, heads: kvHeads, positions: pass.positions, frequencies: rope.frequencies,
                scale: rope.scale)
        }
        if let step = pass.cacheStep { (k, v) = step.store(k, v, layer: layer) }
        return NN.attention(
            q, k, v, heads: heads, kvHeads: kvHeads, layout: pass.layout, scale: scale,
            window: window,
            softcap: softcap)
    }

    private func project(_ x: Tensor, _ pass: Pass) -> (q: Tensor, k: Tensor, v: Tensor) {
        switch projection {
        case .separate(let query, let key, let value):
            return (query(x, pass), key(x, pass), value(x, pass))
        case .fused(let all):
            let (q, kv) = (heads * headSize, kvHeads * headSize)
            let y = all(x, pass)
            return (
                NN.columns(y, 0..<q), NN.columns(y, q..<q + kv), NN.columns(y, q + kv..<q + 2 * kv)
            )
        case .interleaved(let all):
            let y = all(x, pass).reshaped([x.rows * heads, 3 * headSize])
            func part(_ i: Int) -> Tensor {
                NN.columns(y, i * headSize..<(i + 1) * headSize)
                    .reshaped([x.rows, heads * headSize])
            }
            return (part(0), part(1), part(2))
        }
    }
}
