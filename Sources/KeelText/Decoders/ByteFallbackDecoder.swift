/// Joins runs of `<0xNN>` tokens into bytes; a run that is not UTF-8 becomes one U+FFFD per byte.
struct ByteFallbackDecoder: Decoder {
    init(_ part: Part) throws {}

    func decode(_ tokens: [[UInt8]]) throws -> [[UInt8]] {
        var result: [[UInt8]] = []
        var run: [UInt8] = []
        func flush() {
            guard !run.isEmpty else { return }
            if String(validating: run, as: UTF8.self) != nil {
                result.append(run)
            } else {
                for _ in run { result.append(Array("\u{FFFD}".utf8)) }
            }
            run = []
        }
        for token in tokens {
            if let byte = ByteFallbackDecoder.byte(token) {
                run.append(byte)
            } else {
                flush()
                result.append(token)
            }
        }
        flush()
        return result
    }

    /// The byte that `<0xNN>` names.
    private static func byte(_ token: [UInt8]) -> UInt8? {
        guard token.count == 6, token.starts(with: Array("<0x".utf8)), token[5] == UInt8(ascii: ">")
        else { return nil }
        return UInt8(String(decoding: token[3..<5], as: UTF8.self), radix: 16)
    }
}
