import KeelTensor

/// What the layers of one forward pass share: weights on the tape, positions, who sees whom, the cache.
final class Pass {
    let positions: Tensor
    let layout: AttentionLayout
    /// Set while generating: where new keys and values go.
    let cacheStep: KVCache.Step?
    /// Trained changes of the weights.
    let adapter: Adapter?
    /// A key of each row, for the draws of dropout; nil = no dropout.
    let dropoutKeys: [UInt64]?

    private let tape: Tape
    private let parameters: [String: Parameter]
    private var leaves: [String: Tensor] = [:]

    init(
        tape: Tape, parameters: [String: Parameter], positions: Tensor, layout: AttentionLayout,
        cacheStep: KVCache.Step? = nil, adapter: Adapter? = nil, dropoutKeys: [UInt64]? = nil
    ) {
        self.tape = tape
        self.parameters = parameters
        self.positions = positions
        self.layout = layout
        self.cacheStep = cacheStep
        self.adapter = adapter
        self.dropoutKeys = tape.isRecording ? dropoutKeys : nil
    }

    /// The tensor of a weight.
    ///
    /// A tied one is the same leaf wherever it is used.
    subscript(weight: Weight) -> Tensor {
        if let leaf = leaves[weight.name] { return leaf }
        guard let parameter = adapter?.replaced[weight.name] ?? parameters[weight.name] else {
            preconditionFailure("no parameter \(weight.name): the model was built without it")
        }
        let leaf = parameter.leaf(on: tape)
        leaves[weight.name] = leaf
        return leaf
    }

    /// The tensor of a parameter that one layer reads.
    func leaf(_ parameter: Parameter) -> Tensor { parameter.leaf(on: tape) }
}
