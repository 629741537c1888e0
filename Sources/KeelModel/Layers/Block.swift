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

    /// - Parameters:
    ///   - x: `[rows, hidden]`
    ///   - left: the rows that anything reads of the result; nil = all. The others are done when the attention
    ///     has seen them.
    /// - Returns: `[left, hidden]`
    func callAsFunction(
        _ x: Tensor, layer: Int, _ pass: Pass, leaving left: [Int32]? = nil
    ) -> Tensor {
        let heads = attention(attentionNorm(x, pass), layer: layer, pass)
        guard let left else { return rest(x, heads, pass) }
        let rows = Tensor(left, device: x.device)
        return rest(NN.gatherRows(x, rows), NN.gatherRows(heads, rows), pass.narrowed(to: left))
    }

    /// What follows the heads: nothing here looks at another row.
    private func rest(_ x: Tensor, _ heads: Tensor, _ pass: Pass) -> Tensor {
        let y =
            if let attentionOutputNorm {
                NN.add(x, attentionOutputNorm(attention.output(heads, pass), pass))
            } else {
                attention.output(heads, pass, addedTo: x)
            }
        let input = mlpNorm(isParallel ? x : y, pass)
        guard let mlpOutputNorm else { return mlp(input, pass, addedTo: y) }
        return NN.add(y, mlpOutputNorm(mlp(input, pass), pass))
    }
}
