import KeelTensor

/// What the layers of one forward pass share: weights on the tape, positions, who sees whom, the cache.
final class Pass {
    /// All of it but the tape: what a part of the pass needs to run again.
    struct Inputs {
        let parameters: [String: Parameter]
        let positions: Tensor
        let layout: AttentionLayout
        /// Set while generating: where new keys and values go.
        var cacheStep: KVCache.Step?
        /// Trained changes of the weights.
        var adapter: Adapter?
        /// What the zeros of dropout depend on; nil = no dropout.
        var dropout: Dropout?
        /// Set while generating: weights laid out for many products.
        var packed: PackedWeights?
        /// Whether blocks keep their input alone.
        var recomputes = false
    }

    /// The draws of a step and the key of each row.
    struct Dropout {
        let seed: UInt64
        let step: UInt64
        let keys: [UInt64]
    }

    private let inputs: Inputs
    private let tape: Tape
    private var leaves: [ObjectIdentifier: Tensor] = [:]

    init(_ inputs: Inputs, tape: Tape) {
        self.inputs = inputs
        self.tape = tape
    }

    var positions: Tensor { inputs.positions }
    var layout: AttentionLayout { inputs.layout }
    var cacheStep: KVCache.Step? { inputs.cacheStep }
    var adapter: Adapter? { inputs.adapter }
    var dropout: Dropout? { inputs.dropout }

    /// The tensor of a weight.
    ///
    /// A tied one is the same leaf wherever it is used.
    subscript(weight: Weight) -> Tensor {
        let parameter = parameter(weight)
        if let leaf = leaves[ObjectIdentifier(parameter)] { return leaf }
        let leaf = parameter.leaf(on: tape)
        leaves[ObjectIdentifier(parameter)] = leaf
        return leaf
    }

    /// A weight laid out for products without gradient; nil where none are kept.
    func packed(_ weight: Weight, transposed: Bool) -> PackedMatrix? {
        inputs.packed?.matrix(weight.name, transposed: transposed) { self[weight] }
    }

    /// The tensor of a parameter that one layer reads.
    func leaf(_ parameter: Parameter) -> Tensor { parameter.leaf(on: tape) }

    /// One layer of the decoder, which keeps what the backward pass needs, or its input alone.
    ///
    /// - Parameter rows: those that are wanted of it; nil = all.
    func run(_ block: Block, layer: Int, _ x: Tensor, leaving rows: [Int32]?) -> Tensor {
        guard inputs.recomputes, tape.isRecording, x.isTracked || trains(block) else {
            return block(x, layer: layer, self, leaving: rows)
        }
        // Not this pass: the tape would keep itself alive.
        return tape.recomputed(x) { [inputs] tape, x in
            block(x, layer: layer, Pass(inputs, tape: tape), leaving: rows)
        }
    }

    /// What is left of the pass when only some rows go on, where no row looks at another any more.
    func narrowed(to rows: [Int32]) -> Pass {
        var inputs = inputs
        if let dropout {
            inputs.dropout = Dropout(
                seed: dropout.seed, step: dropout.step, keys: rows.map { dropout.keys[Int($0)] })
        }
        return Pass(inputs, tape: tape)
    }

    private func parameter(_ weight: Weight) -> Parameter {
        guard let found = adapter?.replaced[weight.name] ?? inputs.parameters[weight.name] else {
            preconditionFailure("no parameter \(weight.name): the model was built without it")
        }
        return found
    }

    /// Whether gradients are wanted of anything in a block.
    private func trains(_ block: Block) -> Bool {
        block.weights.contains { weight in
            let module = adapter?.modules[weight.name]
            return parameter(weight).isTrained || module?.down.isTrained == true
                || module?.up.isTrained == true
        }
    }
}
