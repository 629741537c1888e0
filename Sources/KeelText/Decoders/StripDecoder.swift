/// Takes up to `start` and `stop` of one character from the two ends of each token.
struct StripDecoder: Decoder {
    private let content: [UInt8]
    private let start: Int
    private let stop: Int

    init(_ part: Part) throws {
        content = try part["content"].bytes()
        guard String(decoding: content, as: UTF8.self).unicodeScalars.count == 1 else {
            throw part["content"].error("the content to strip must be one character")
        }
        start = try part["start"].integer(0...Int(Int32.max))
        stop = try part["stop"].integer(0...Int(Int32.max))
    }

    func decode(_ tokens: [[UInt8]]) throws -> [[UInt8]] {
        tokens.map { token in
            var rest = token[...]
            var left = start
            while left > 0, rest.starts(with: content) {
                rest = rest.dropFirst(content.count)
                left -= 1
            }
            var right = stop
            while right > 0, rest.count >= content.count,
                rest.suffix(content.count).elementsEqual(content)
            {
                rest = rest.dropLast(content.count)
                right -= 1
            }
            return Array(rest)
        }
    }
}
