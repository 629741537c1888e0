import KeelTensor

/// y = x Wᵀ + b, or y = x W + b for GPT-2's Conv1D.
package struct Linear: Sendable {
    /// How the file stores W.
    package enum Layout: Sendable {
        /// `[out, in]`, as torch's Linear.
        case outIn
        /// `[in, out]`, as GPT-2's Conv1D.
        case inOut
    }

    package var weight: Weight
    package var bias: Weight?
    package var layout: Layout

    /// - Parameters:
    ///   - name: the module's name; `.weight` and `.bias` follow it.
    ///   - scale: of the initial standard deviation.
    package init(
        _ name: String, _ input: Int, _ output: Int, bias: Bool = false, layout: Layout = .outIn,
        scale: Double = 1
    ) {
        weight = Weight(
            name + ".weight", layout == .outIn ? [output, input] : [input, output], .normal(scale))
        self.bias = bias ? Weight(name + ".bias", [output], .zeros) : nil
        self.layout = layout
    }

    /// The layer of a weight that stands by itself: an embedding, a head.
    init(_ weight: Weight, layout: Layout) {
        self.weight = weight
        self.layout = layout
    }

    /// The same layer with a bias.
    package func withBias() -> Linear {
        var layer = self
        let name = weight.name.dropLast("weight".count) + "bias"
        layer.bias = Weight(String(name), [weight.shape[layout == .outIn ? 0 : 1]], .zeros)
        return layer
    }

    /// Weight and, where there is one, bias.
    package var weights: [Weight] { [weight] + (bias.map { [$0] } ?? []) }

    /// - Parameters:
    ///   - x: `[rows, in]`
    ///   - residual: `[rows, out]`, what the result is added to; nil = nothing.
    /// - Returns: `[rows, out]`
    func callAsFunction(_ x: Tensor, _ pass: Pass, addedTo residual: Tensor? = nil) -> Tensor {
        let bias = bias.map { pass[$0] }
        // The update stands in the same sum: small as it may be beside the residual, it is rounded with the rest,
        // and where it is zero the bits are those of the model without it.
        let update = pass.adapter?.update(of: self, x, pass)
        let addends = [update, residual].compactMap { $0 }
        if let packed = pass.packed(weight, transposed: layout == .outIn) {
            return NN.linear(x, packed: packed, bias: bias, adding: addends)
        }
        return switch layout {
        case .outIn: NN.linear(x, weight: pass[weight], bias: bias, adding: addends)
        case .inOut: NN.linear(x, weightIO: pass[weight], bias: bias, adding: addends)
        }
    }
}
