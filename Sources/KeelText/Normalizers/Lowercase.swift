/// Lower case, character by character; what one character becomes does not depend on its neighbours.
struct Lowercase: Normalizer {
    init(_ part: Part) {}
    init() {}

    func normalize(_ text: AlignedText) throws -> AlignedText {
        text.mapped { scalar, append in
            if scalar.isASCII {
                let isUpper = (0x41...0x5A).contains(scalar.value)
                append(isUpper ? Unicode.Scalar(UInt8(scalar.value) + 32) : scalar)
            } else {
                for lower in scalar.properties.lowercaseMapping.unicodeScalars { append(lower) }
            }
        }
    }
}
