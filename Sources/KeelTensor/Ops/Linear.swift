import KeelCore

extension NN {
    /// y = x W^T + b + Σ addends.
    ///
    /// - Parameters:
    ///   - x: `[rows, in]`.
    ///   - weight: `[out, in]`.
    ///   - bias: `[out]`.
    ///   - addends: `[rows, out]` of x's type, two at most, added last and in order.
    /// - Returns: `[rows, out]`. A row's bits depend neither on the other rows nor on how many there are. In bf16
    ///   and without bias, the whole sum is rounded once where products are packed, else after each part.
    package static func linear(
        _ x: Tensor, weight: Tensor, bias: Tensor? = nil, adding addends: [Tensor] = []
    ) -> Tensor {
        linear(x, weight, bias, addends, transposed: true)
    }

    /// y = x W + b + Σ addends, the weight stored `[in, out]` (GPT-2's Conv1D).
    package static func linear(
        _ x: Tensor, weightIO weight: Tensor, bias: Tensor? = nil, adding addends: [Tensor] = []
    ) -> Tensor {
        linear(x, weight, bias, addends, transposed: false)
    }

    /// The same without gradient, by a weight that was packed before: the bits of `linear`.
    package static func linear(
        _ x: Tensor, packed: PackedMatrix, bias: Tensor? = nil, adding addends: [Tensor] = []
    ) -> Tensor {
        let y = Tensor(uninitialized: [x.rows, packed.n], x.dtype, x.device)
        StageClock.measure(.products, flops: 2 * Double(x.count) * Double(packed.n)) {
            packed.multiply(
                y, x.detach(), bias: bias?.detach(), adding: addends.map { $0.detach() })
        }
        return y
    }

    private static func linear(
        _ x: Tensor, _ weight: Tensor, _ bias: Tensor?, _ addends: [Tensor], transposed: Bool
    ) -> Tensor {
        let (x0, w0) = (x.detach(), weight.detach())
        let b0 = bias?.detach()
        let out = weight.shape[transposed ? 0 : 1]
        let y = Tensor(uninitialized: [x.rows, out], x.dtype, x.device)
        Matmul.rows(
            y, x0, w0, transposed: transposed, bias: b0, adding: addends.map { $0.detach() })
        // A frozen weight asks for no x.
        let kept = weight.isTracked ? x.kept : nil
        let (shape, dtype, device) = (x.shape, x.dtype, x.device)
        let inputs = [x, weight] + (bias.map { [$0] } ?? [])
        let added = inputs.count..<inputs.count + addends.count
        return Tape.record(inputs + addends, y) { g in
            // dx = dy W;  dW = dy^T x;  db = Σ dy;  of an addend: dy
            for i in added { g.add(i, g.dy) }
            g.add(0) { present in
                let dx = Tensor(uninitialized: shape, dtype, device)
                Matmul.rows(
                    dx, g.dy, w0, transposed: !transposed, adding: present.map { [$0] } ?? [])
                return dx
            }
            if let x0 = kept?.value {
                g.accumulate(1, like: w0) { dw in
                    if transposed {
                        Matmul.addTransposed(dw, g.dy, x0)
                    } else {
                        Matmul.addTransposed(dw, x0, g.dy)
                    }
                }
            }
            if let b0 { g.accumulate(2, like: b0) { Kernels.columnSums($0, g.dy) } }
        }
    }
}
