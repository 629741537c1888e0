import KeelTensor

/// One layer of the decoder.
///
///     x = x + attention(norm(x));  x = x + mlp(norm(x))
package struct Block: Sendable {
    package var attentionNorm: Norm
    package var attention: Attention
    package var mlpNorm: Norm
    package var mlp: MLP

    /// A block with the two norms in front of its parts.
    package init(attentionNorm: Norm, attention: Attention, mlpNorm: Norm, mlp: MLP) {
        self.attentionNorm = attentionNorm
        self.attention = attention
        self.mlpNorm = mlpNorm
        self.mlp = mlp
    }

    /// Every tensor of the block.
    package var weights: [Weight] {
        attentionNorm.weights + attention.weights + mlpNorm.weights + mlp.weights
    }

    /// - Parameter x: `[rows, hidden]`
    func callAsFunction(_ x: Tensor, layer: Int, _ pass: Pass) -> Tensor {
        let y = NN.add(x, attention(attentionNorm(x, pass), layer: layer, pass))
        return NN.add(y, mlp(mlpNorm(y, pass), pass))
    }
}
