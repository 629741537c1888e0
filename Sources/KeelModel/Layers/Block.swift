import KeelTensor

/// One layer of the decoder.
///
///     x = x + attention(norm(x));  x = x + mlp(norm(x))
///     x = x + attention(norm(x)) + mlp(norm'(x))               where the two are parallel
///
/// Gemma's norms of the two parts' outputs stand in front of the additions.
package struct Block: Sendable {
    package var attentionNorm: Norm
    package var attention: Attention
    /// Over what attention adds; nil = none.
    package var attentionOutputNorm: Norm?
    package var mlpNorm: Norm
    package var mlp: MLP
    /// Over what the feed-forward part adds; nil = none.
    package var mlpOutputNorm: Norm?
    /// Both parts read the block's input.
    package var isParallel = false

    /// A block with the two norms in front of its parts.
    package init(attentionNorm: Norm, attention: Attention, mlpNorm: Norm, mlp: MLP) {
        self.attentionNorm = attentionNorm
        self.attention = attention
        self.mlpNorm = mlpNorm
        self.mlp = mlp
    }

    /// Every tensor of the block.
    package var weights: [Weight] {
        attentionNorm.weights + attention.weights + (attentionOutputNorm?.weights ?? [])
            + mlpNorm.weights + mlp.weights + (mlpOutputNorm?.weights ?? [])
    }

    /// - Parameter x: `[rows, hidden]`
    func callAsFunction(_ x: Tensor, layer: Int, _ pass: Pass) -> Tensor {
        var mixed = attention(attentionNorm(x, pass), layer: layer, pass)
        if let attentionOutputNorm { mixed = attentionOutputNorm(mixed, pass) }
        let y = NN.add(x, mixed)
        var thought = mlp(mlpNorm(isParallel ? x : y, pass), pass)
        if let mlpOutputNorm { thought = mlpOutputNorm(thought, pass) }
        return NN.add(y, thought)
    }
}
