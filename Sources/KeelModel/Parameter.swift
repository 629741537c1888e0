import KeelTensor

/// One trained tensor: the master copy the optimizer moves, the copy that computes, the gradient.
package final class Parameter: @unchecked Sendable {
    /// As in the weight file.
    package let name: String
    /// f32; f64 in a model that computes in f64; of a frozen weight the computing copy itself.
    package let master: Tensor
    /// What layers read: the master itself, or its bf16 rounding.
    package let compute: Tensor
    /// False keeps it out of gradients and optimizers.
    package var isTrained = true

    private var accumulator: Tensor?

    /// - Parameters:
    ///   - master: taken over, not copied.
    ///   - compute: f32, bf16 or f64; anything but the master's own type gets a copy.
    package init(name: String, master: Tensor, compute: DType) {
        self.name = name
        self.master = master
        self.compute = compute == master.dtype ? master : master.cast(compute)
    }

    /// As in the weight file.
    package var shape: [Int] { master.shape }
    /// The number of cells.
    package var count: Int { master.count }

    /// The sum of gradients since `zeroGradient`: f32 (f64 under f64), zeros before the first.
    package var gradient: Tensor {
        if let accumulator { return accumulator }
        let zeros = Tensor(zeros: shape, dtype: master.dtype, device: master.device)
        accumulator = zeros
        return zeros
    }

    /// Sets the gradient to zero.
    package func zeroGradient() { accumulator?.zero() }

    /// Overwrites the master copy; the computing copy follows.
    package func assign(_ values: Tensor) {
        master.copy(from: values)
        refresh()
    }

    /// Rounds the master again into the computing copy, after it was changed in place.
    package func refresh() {
        if compute.dtype != master.dtype { compute.copy(from: master) }
    }

    /// The tensor for one pass, differentiable where the tape records and the parameter is trained.
    func leaf(on tape: Tape) -> Tensor {
        tape.isRecording && isTrained ? tape.leaf(compute, gradient: gradient) : compute
    }
}
