/// One forward pass: what was computed from what, so that derivatives can flow back once.
///
/// Operations record themselves on the tape of their inputs; a tape is used by one thread.
package final class Tape: @unchecked Sendable {
    /// False: `leaf` returns constants and nothing is recorded.
    package let isRecording: Bool

    private struct Entry {
        let shape: [Int]
        let dtype: DType
        var backward: ((Gradients) -> Void)?
        var gradient: Tensor?
        /// The caller's or our own sum of what flows into a leaf.
        var accumulator: Tensor?
        var isLeaf: Bool
    }

    private var entries: [Entry] = []
    private var isSpent = false

    /// - Parameter recording: false for a pass that needs no derivatives.
    package init(recording: Bool = true) { isRecording = recording }

    /// The tensor as something to differentiate by.
    ///
    /// - Parameter gradient: f32 (f64 for f64) of the same shape; `backward` adds to it. nil = ask with
    ///   `gradient(of:)` afterwards.
    package func leaf(_ value: Tensor, gradient: Tensor? = nil) -> Tensor {
        guard isRecording else { return value.detach() }
        precondition(value.dtype.isFloat, "a leaf of \(value.dtype)")
        precondition(!isSpent, "a leaf on a tape that has run backward")
        if let gradient {
            precondition(
                gradient.shape == value.shape && gradient.dtype == value.dtype.accumulator,
                "gradient \(gradient.shape) \(gradient.dtype) for leaf \(value.shape) \(value.dtype)"
            )
        }
        entries.append(
            Entry(
                shape: value.shape, dtype: value.dtype, backward: nil, gradient: nil,
                accumulator: gradient?.detach(), isLeaf: true))
        return value.detach().at(Tensor.Place(tape: self, index: entries.count - 1))
    }

    /// Puts the result of an operation on the tape of its inputs; without a tracked input it stays a constant.
    ///
    /// - Parameter backward: gets the output's gradient and adds to the inputs'. It must capture detached
    ///   tensors only, or the tape keeps itself alive.
    static func record(
        _ inputs: [Tensor], _ output: Tensor, _ backward: @escaping (Gradients) -> Void
    ) -> Tensor {
        record(inputs, [output]) { gradients, _ in backward(gradients) }[0]
    }

    /// The same for an operation with several differentiable outputs; `backward` runs once per output that has
    /// a gradient, and is told which.
    static func record(
        _ inputs: [Tensor], _ outputs: [Tensor], _ backward: @escaping (Gradients, Int) -> Void
    ) -> [Tensor] {
        var tape: Tape?
        for input in inputs {
            guard let place = input.place else { continue }
            precondition(tape == nil || tape === place.tape, "inputs from two tapes")
            tape = place.tape
        }
        guard let tape else { return outputs }
        precondition(!tape.isSpent, "an operation on a tape that has run backward")
        let places = inputs.map { $0.place?.index }
        return outputs.enumerated().map { number, output in
            tape.entries.append(
                Entry(
                    shape: output.shape, dtype: output.dtype,
                    backward: { gradients in
                        var gradients = gradients
                        gradients.places = places
                        backward(gradients, number)
                    }, gradient: nil, accumulator: nil, isLeaf: false))
            return output.at(Tensor.Place(tape: tape, index: tape.entries.count - 1))
        }
    }

    /// The result of `body`, of which the tape keeps the input alone; the backward pass computes the rest again.
    ///
    /// Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174. The second run sees
    /// the same input and gives the same bits, so the gradients are those of a pass that keeps everything.
    ///
    /// - Parameter body: a function of its tensor and of leaves it puts on the tape it is given; called once
    ///   without recording and once more, with a tape of its own, while the derivatives run back. It must
    ///   capture nothing of this tape.
    package func recomputed(_ x: Tensor, _ body: @escaping (Tape, Tensor) -> Tensor) -> Tensor {
        guard isRecording else { return body(self, x) }
        precondition(!isSpent, "an operation on a tape that has run backward")
        precondition(x.place.map { $0.tape === self } ?? true, "inputs from two tapes")
        let place = x.place?.index
        let x0 = x.detach()
        let y = body(Tape(recording: false), x0).detach()
        entries.append(
            Entry(
                shape: y.shape, dtype: y.dtype,
                backward: { gradients in
                    let inner = Tape()
                    let input = place == nil ? x0 : inner.source(x0)
                    inner.backward([(body(inner, input), gradients.dy)])
                    guard let place, let here = input.place?.index,
                        let dx = inner.entries[here].gradient
                    else { return }
                    gradients.tape.add(dx, to: place)
                }, gradient: nil, accumulator: nil, isLeaf: false))
        return y.at(Tensor.Place(tape: self, index: entries.count - 1))
    }

    /// A tensor whose gradient is summed as that of a result is: in its own type.
    private func source(_ x: Tensor) -> Tensor {
        entries.append(
            Entry(
                shape: x.shape, dtype: x.dtype, backward: nil, gradient: nil, accumulator: nil,
                isLeaf: false))
        return x.at(Tensor.Place(tape: self, index: entries.count - 1))
    }

    /// Runs the derivatives back from `output`.
    ///
    /// - Parameter seed: the gradient of `output`; nil = 1 for a single number.
    package func backward(_ output: Tensor, seed: Tensor? = nil) {
        if seed == nil {
            precondition(output.count == 1, "backward from \(output.shape) needs a seed")
        }
        let one =
            seed
            ?? Tensor(filled: 1, shape: output.shape, dtype: output.dtype, device: output.device)
        backward([(output, one)])
    }

    /// Runs the derivatives back from several outputs at once, each with its gradient.
    ///
    /// A tape runs once.
    package func backward(_ seeds: [(output: Tensor, seed: Tensor)]) {
        precondition(!isSpent, "a tape that has run backward already")
        isSpent = true
        for (output, seed) in seeds {
            guard let place = output.place else { continue }
            precondition(place.tape === self, "backward from a tensor of another tape")
            precondition(seed.shape == output.shape, "seed \(seed.shape) for \(output.shape)")
            add(
                seed.dtype == output.dtype ? seed.detach() : Memory.converted(seed, output.dtype),
                to: place.index)
        }
        for index in stride(from: entries.count - 1, through: 0, by: -1)
        where !entries[index].isLeaf {
            let run = entries[index].backward
            entries[index].backward = nil
            guard let run, let gradient = entries[index].gradient else { continue }
            entries[index].gradient = nil
            run(Gradients(tape: self, dy: gradient))
        }
    }

    /// What flowed into a leaf: f32 (f64 under f64), nil when nothing did.
    package func gradient(of leaf: Tensor) -> Tensor? {
        guard let place = leaf.place, place.tape === self else { return nil }
        return entries[place.index].accumulator
    }

    fileprivate func add(_ gradient: Tensor, to index: Int) {
        add(to: index) { present in present.map { Memory.sum($0, gradient) } ?? gradient }
    }

    fileprivate func add(to index: Int, _ total: (Tensor?) -> Tensor) {
        let entry = entries[index]
        let gradient = total(entry.gradient)
        precondition(
            gradient.count == Shape.count(entry.shape),
            "gradient \(gradient.shape) for \(entry.shape)")
        if entry.isLeaf {
            Memory.add(gradient, into: accumulator(index, gradient.device))
        } else {
            entries[index].gradient = gradient.viewed(entry.shape)
        }
    }

    fileprivate func accumulator(_ index: Int, _ device: Device) -> Tensor {
        if let present = entries[index].accumulator { return present }
        let entry = entries[index]
        let sum = Tensor(zeros: entry.shape, dtype: entry.dtype.accumulator, device: device)
        entries[index].accumulator = sum
        return sum
    }

    fileprivate func isLeaf(_ index: Int) -> Bool { entries[index].isLeaf }
}

/// What an operation's backward pass sees: the gradient of its output and where to add those of its inputs.
struct Gradients {
    fileprivate let tape: Tape
    /// The gradient of the output, in the output's type and shape.
    let dy: Tensor
    fileprivate var places: [Int?] = []

    fileprivate init(tape: Tape, dy: Tensor) {
        self.tape = tape
        self.dy = dy
    }

    /// Whether anything depends on the gradient of input number `i`.
    func needs(_ i: Int) -> Bool { places[i] != nil }

    /// Adds to the gradient of input `i`: the input's type (a leaf also takes its accumulator's), same count.
    func add(_ i: Int, _ gradient: @autoclosure () -> Tensor) {
        guard let place = places[i] else { return }
        tape.add(gradient(), to: place)
    }

    /// Adds to the gradient of input `i` where the sum costs less than the share alone.
    ///
    /// - Parameter total: returns what is there (nil: nothing) plus the share, in the input's type and in memory of
    ///   its own: others may hold what is there.
    func add(_ i: Int, _ total: (_ present: Tensor?) -> Tensor) {
        guard let place = places[i] else { return }
        tape.add(to: place, total)
    }

    /// Gives `body` a sum in f32 (f64 under f64) of the input's shape to add to: a leaf's own, else zeros that
    /// flow on.
    func accumulate(_ i: Int, like input: Tensor, _ body: (Tensor) -> Void) {
        guard let place = places[i] else { return }
        if tape.isLeaf(place) {
            body(tape.accumulator(place, dy.device))
            return
        }
        let sum = Tensor(zeros: input.shape, dtype: input.dtype.accumulator, device: dy.device)
        body(sum)
        tape.add(sum.dtype == input.dtype ? sum : Memory.converted(sum, input.dtype), to: place)
    }
}
