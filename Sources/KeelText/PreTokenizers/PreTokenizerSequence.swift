/// Several pre-tokenizers, one after the other.
struct PreTokenizerSequence: PreTokenizer {
    private let steps: [any PreTokenizer]

    init(_ part: Part) throws {
        steps = try part["pretokenizers"].list().map { try Components.preTokenizers.make($0) }
    }

    func split(_ pieces: inout Pieces) throws {
        for step in steps { try step.split(&pieces) }
    }
}
