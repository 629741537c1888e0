/// Several post-processors, one after the other.
struct PostProcessorSequence: PostProcessor {
    private let steps: [any PostProcessor]

    init(_ part: Part) throws {
        steps = try part["processors"].list().map { try Components.postProcessors.make($0) }
    }

    func process(_ parts: [Encoding], addSpecial: Bool, tokens: (Int32) -> [UInt8]) -> [Encoding] {
        steps.reduce(parts) { $1.process($0, addSpecial: addSpecial, tokens: tokens) }
    }
}
