/// Turns the 256 visible characters back into bytes; broken UTF-8 becomes U+FFFD.
struct ByteLevelDecoder: Decoder {
    init(_ part: Part) throws {}

    func decode(_ tokens: [[UInt8]]) throws -> [[UInt8]] {
        var bytes: [UInt8] = []
        for token in tokens {
            let start = bytes.count
            for scalar in String(decoding: token, as: UTF8.self).unicodeScalars {
                let byte = scalar.value < 0x200 ? ByteAlphabet.bytes[Int(scalar.value)] : -1
                guard byte >= 0 else {
                    // A token outside the alphabet, an added one, is text already.
                    bytes.removeSubrange(start...)
                    bytes.append(contentsOf: token)
                    break
                }
                bytes.append(UInt8(byte))
            }
        }
        return [Array(String(decoding: bytes, as: UTF8.self).utf8)]
    }
}
