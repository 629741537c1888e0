/// Several decoders, one after the other.
struct DecoderSequence: Decoder {
    private let steps: [any Decoder]

    init(_ part: Part) throws {
        steps = try part["decoders"].list().map { try Components.decoders.make($0) }
    }

    func decode(_ tokens: [[UInt8]]) throws -> [[UInt8]] {
        try steps.reduce(tokens) { try $1.decode($0) }
    }
}
