import KeelTensor

/// The feed-forward part of a block.
package struct MLP: Sendable {
    /// What stands between the projections.
    package enum Activation: Sendable {
        case silu
        case geluTanh
        case geluErf
        case relu

        /// transformers' name of the function; nil = not one we have.
        package init?(_ name: String) {
            switch name {
            case "silu", "swish": self = .silu
            case "gelu_new", "gelu_pytorch_tanh", "gelu_fast": self = .geluTanh
            case "gelu": self = .geluErf
            case "relu": self = .relu
            default: return nil
            }
        }

        func callAsFunction(_ x: Tensor) -> Tensor {
            switch self {
            case .silu: NN.silu(x)
            case .geluTanh: NN.gelu(x, approximate: .tanh)
            case .geluErf: NN.gelu(x, approximate: .erf)
            case .relu: x.relu()
            }
        }
    }

    /// With or without a gate.
    package enum Kind: Sendable {
        /// down(activation(up(x)))
        case plain(up: Linear)
        /// down(activation(gate(x)) * up(x))
        case gated(gate: Linear, up: Linear)
        /// The same with one matrix; the outputs are all gates, then all of up.
        case fused(Linear)
    }

    package var kind: Kind
    package var down: Linear
    package var activation: Activation

    /// The projections up, down, and what stands between them.
    package init(_ kind: Kind, down: Linear, activation: Activation) {
        self.kind = kind
        self.down = down
        self.activation = activation
    }

    /// Every tensor of the layer.
    package var weights: [Weight] {
        switch kind {
        case .plain(let up): up.weights + down.weights
        case .gated(let gate, let up): gate.weights + up.weights + down.weights
        case .fused(let both): both.weights + down.weights
        }
    }

    /// - Parameter residual: what the result is added to; nil = nothing.
    func callAsFunction(_ x: Tensor, _ pass: Pass, addedTo residual: Tensor? = nil) -> Tensor {
        down(middle(x, pass), pass, addedTo: residual)
    }

    /// What stands in front of `down`.
    private func middle(_ x: Tensor, _ pass: Pass) -> Tensor {
        switch kind {
        case .plain(let up): return activation(up(x, pass))
        case .gated(let gate, let up): return mix(gate(x, pass), up(x, pass))
        case .fused(let both):
            let y = both(x, pass)
            let inner = y.columns / 2
            return mix(NN.columns(y, 0..<inner), NN.columns(y, inner..<2 * inner))
        }
    }

    /// The gated middle: activation(gate) * up.
    private func mix(_ gate: Tensor, _ up: Tensor) -> Tensor {
        switch activation {
        case .silu: NN.swiglu(gate, up)
        case .geluTanh: NN.geglu(gate, up)
        case .geluErf: NN.geglu(gate, up, approximate: .erf)
        case .relu: activation(gate) * up
        }
    }
}
