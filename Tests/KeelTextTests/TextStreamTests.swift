import KeelCore
import Testing

@testable import KeelText

@Suite struct TextStreamTests {
    static let names = [
        "added_token_flags", "bert_base_uncased", "gemma_style", "llama2_style", "llama3_style",
        "multi_split_style", "qwen2_style", "roberta_style", "smollm_style", "unigram_t5_style",
    ]
    static let texts = [
        "Hello, world! It's 3 o'clock.\n\nA new line.", "  two  spaces ", "na\u{EF}ve caf\u{E9}",
        "\u{4F60}\u{597D}\u{FF0C}\u{4E16}\u{754C}",
        "\u{1F600}\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467} ok",
        "\u{10FFFF}\u{0}\u{7F}", "",
    ]

    /// Ids of every kind, in every order: bytes that are no text, special tokens, ids not in use.
    private func randomIDs(_ tokenizer: Tokenizer, _ number: Int) -> [Int32] {
        let stream = RandomStream(seed: 9, place: "ids", UInt64(number))
        let bytes = (0..<256).compactMap { value -> Int32? in
            let digits = String(value, radix: 16, uppercase: true)
            return tokenizer.id(of: "<0x\(value < 16 ? "0" : "")\(digits)>")
        }
        return (0..<60).map { i in
            let draw = stream.bits(UInt64(2 * i))
            // Runs of bytes, where the vocabulary has them.
            if !bytes.isEmpty, stream.bits(UInt64(2 * i + 1)) % 2 == 0 {
                return bytes[Int(draw % UInt64(bytes.count))]
            }
            // The lowest ids are special tokens and single bytes.
            let limit = draw % 2 == 0 ? min(300, tokenizer.idLimit) : tokenizer.idLimit
            return Int32((draw >> 1) % UInt64(limit))
        }
    }

    private func check(_ tokenizer: Tokenizer, _ ids: [Int32], _ skips: Bool) throws {
        var stream = TextStream(tokenizer, skipsSpecial: skips)
        var settled: [UInt8] = []
        for (i, id) in ids.enumerated() {
            let piece = try stream.append(id)
            #expect(String(validating: piece, as: UTF8.self) != nil, "half a code point")
            settled += piece
            #expect(stream.settledCount == settled.count)
            let want = try tokenizer.decode(Array(ids[...i]), skipSpecial: skips)
            #expect(
                String(decoding: settled + stream.pending, as: UTF8.self) == want,
                "after \(i + 1) of \(ids)")
        }
        settled += try stream.finish()
        #expect(settled == Array(try tokenizer.decode(ids, skipSpecial: skips).utf8))
    }

    @Test(arguments: names, [true, false])
    func thePartsAreTheWhole(name: String, skips: Bool) throws {
        let tokenizer = try Tokenizer.load(directory: Files.join(Fixture.folder, name))
        for text in TextStreamTests.texts { try check(tokenizer, tokenizer.ids(text), skips) }
        for number in 0..<40 { try check(tokenizer, randomIDs(tokenizer, number), skips) }
    }

    /// A code point in several tokens is shown when it is whole.
    @Test(arguments: ["llama2_style", "llama3_style"])
    func noHalfCodePoint(name: String) throws {
        let tokenizer = try Tokenizer.load(directory: Files.join(Fixture.folder, name))
        let ids = try tokenizer.ids("a\u{1F9FF}b", addSpecial: false)
        #expect(ids.count > 3)
        var stream = TextStream(tokenizer)
        let pieces = try ids.map { String(decoding: try stream.append($0), as: UTF8.self) }
        #expect(!pieces.joined().contains("\u{FFFD}"))
        #expect(pieces.contains { $0.contains("\u{1F9FF}") })
        #expect(pieces.contains(""))
        #expect(pieces.joined().hasSuffix("a\u{1F9FF}b"))
    }
}
