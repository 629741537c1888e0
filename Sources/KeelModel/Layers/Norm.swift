import KeelTensor

/// RMS norm or layer norm over the last axis.
package struct Norm: Sendable {
    /// What is divided by what.
    package enum Kind: Sendable {
        /// x / rms(x) * (offset + w); offset 1 is Gemma's.
        case rms(offset: Float)
        /// (x - mean) / std * w + b
        case layer
    }

    package var kind: Kind
    package var weight: Weight
    package var bias: Weight?
    /// Added to the mean square or the variance.
    package var eps: Double

    /// An RMS norm.
    package static func rms(_ name: String, _ size: Int, eps: Double, offset: Float = 0) -> Norm {
        Norm(
            kind: .rms(offset: offset),
            weight: Weight(name + ".weight", [size], offset == 1 ? .zeros : .ones),
            bias: nil, eps: eps)
    }

    /// A layer norm with a bias.
    package static func layer(_ name: String, _ size: Int, eps: Double) -> Norm {
        Norm(
            kind: .layer, weight: Weight(name + ".weight", [size], .ones),
            bias: Weight(name + ".bias", [size], .zeros), eps: eps)
    }

    /// Weight and, where there is one, bias.
    package var weights: [Weight] { [weight] + (bias.map { [$0] } ?? []) }

    func callAsFunction(_ x: Tensor, _ pass: Pass) -> Tensor {
        switch kind {
        case .rms(let offset):
            return NN.rmsNorm(x, weight: pass[weight], eps: eps, offset: offset)
        case .layer:
            guard let bias else { preconditionFailure("layer norm \(weight.name) without a bias") }
            return NN.layerNorm(x, weight: pass[weight], bias: pass[bias], eps: eps)
        }
    }
}
