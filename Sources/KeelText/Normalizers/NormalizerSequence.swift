/// Several normalizers, one after the other.
struct NormalizerSequence: Normalizer {
    private let steps: [any Normalizer]

    init(_ part: Part) throws {
        steps = try part["normalizers"].list().map { try Components.normalizers.make($0) }
    }

    func normalize(_ text: AlignedText) throws -> AlignedText {
        try steps.reduce(text) { try $1.normalize($0) }
    }
}
