/// Makes one text of all tokens.
struct FuseDecoder: Decoder {
    init(_ part: Part) throws {}

    func decode(_ tokens: [[UInt8]]) throws -> [[UInt8]] { [Array(tokens.joined())] }
}
