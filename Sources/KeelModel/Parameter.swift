import KeelTensor

/// One trained tensor: the master copy the optimizer moves, the copy that computes, the gradient.
package final class Parameter: @unchecked Sendable {
    /// As in the weight file.
    package let name: String
    /// f32; f64 in a model that computes in f64; of a frozen weight the computing copy itself.
    package private(set) var master: Tensor
    /// What layers read: the master itself, or its bf16 rounding.
    package private(set) var compute: Tensor
    /// False keeps it out of gradients and optimizers.
    package var isTrained = true

    private var accumulator: Tensor?
    /// Where `compute` goes when it is next written to; nil = nobody shares its cells.
    private var next: Tensor?

    /// - Parameters:
    ///   - master: taken over, not copied.
    ///   - compute: f32, bf16 or f64; anything but the master's own type gets a copy.
    package init(name: String, master: Tensor, compute: DType) {
        self.name = name
        self.master = master
        self.compute = compute == master.dtype ? master : master.cast(compute)
    }

    /// Cells of no defined value, for what reads them from a file.
    init(name: String, roomFor shape: [Int], master: DType, compute: DType, device: Device) {
        self.name = name
        func room(_ dtype: DType) -> Tensor {
            Tensor(roomFor: shape, dtype: dtype, device: device, inLargePages: true)
        }
        let values = room(master)
        self.master = values
        self.compute = compute == master ? values : room(compute)
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
        beginWriting()
        master.copy(from: values)
        refresh()
    }

    /// Rounds the master again into the computing copy, after it was changed in place.
    package func refresh() {
        guard compute.dtype != master.dtype else { return }
        beginWriting()
        compute.copy(from: master)
    }

    /// Overwrites the computing copy alone.
    func overwriteCompute(_ values: Tensor) {
        beginWriting()
        compute.copy(from: values)
    }

    // MARK: Sharing

    /// A parameter that is not trained and keeps the cells that compute now; it shares them until `beginWriting`.
    ///
    /// The room for two is taken at once, so that it does not stand between the activations of a step later.
    func frozen() -> Parameter {
        if next == nil {
            next = Tensor(
                roomFor: shape, dtype: compute.dtype, device: compute.device, inLargePages: true)
        }
        let copy = Parameter(name: name, master: compute, compute: compute.dtype)
        copy.isTrained = false
        return copy
    }

    /// Before every cell of `compute` is written to: who shares them keeps them as they are.
    ///
    /// A master that computes itself moves with its cells; of a computing copy nothing is kept.
    func beginWriting() {
        guard let room = next else { return }
        next = nil
        if compute.dtype == master.dtype {
            room.copy(from: master)
            master = room
        }
        compute = room
    }

    /// The tensor for one pass, differentiable where the tape records and the parameter is trained.
    func leaf(on tape: Tape) -> Tensor {
        tape.isRecording && isTrained ? tape.leaf(compute, gradient: gradient) : compute
    }
}
