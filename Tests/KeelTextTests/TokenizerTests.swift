import KeelCore
import Testing

@testable import KeelText

struct TokenizerTests {
    @Test func mergesInOrderOfRank() throws {
        let tokenizer = try tokenizer(["model": smallModel()])
        #expect(try tokenizer.ids("abc") == [4])
        #expect(try tokenizer.ids("cab") == [2, 3])
        #expect(try tokenizer.ids("") == [])
        #expect(try tokenizer.encode("bab").offsets == [0..<1, 1..<3])
    }

    @Test func bothSpellingsOfMergesAreTheSame() throws {
        let pairs: JSON = [["a", "b"], ["ab", "c"]]
        let other = try tokenizer(["model": smallModel(["merges": pairs])])
        #expect(try other.ids("abcab") == (try tokenizer(["model": smallModel()])).ids("abcab"))
    }

    @Test func unknownCharactersFuseOrNot() throws {
        let vocab: JSON = ["a": 0, "?": 1]
        func ids(_ fuse: Bool, _ unknown: JSON) throws -> [Int32] {
            try tokenizer([
                "model": [
                    "type": "BPE", "vocab": vocab, "merges": [], "unk_token": unknown,
                    "fuse_unk": .bool(fuse),
                ]
            ])
            .ids("xaxy")
        }
        #expect(try ids(true, "?") == [1, 0, 1])
        #expect(try ids(false, "?") == [1, 0, 1, 1])
        #expect(try ids(false, nil) == [0])
    }

    @Test func bytesStandInForUnknownCharacters() throws {
        let vocab: JSON = ["a": 0, "<0xC3>": 1, "<0xA9>": 2, "?": 3]
        let tokenizer = try tokenizer([
            "model": [
                "type": "BPE", "vocab": vocab, "merges": [], "byte_fallback": true,
                "unk_token": "?",
            ],
            "decoder": [
                "type": "Sequence", "decoders": [["type": "ByteFallback"], ["type": "Fuse"]],
            ],
        ])
        #expect(try tokenizer.ids("aéü") == [0, 1, 2, 3])
        #expect(try tokenizer.encode("aé").offsets == [0..<1, 1..<2, 1..<2])
        #expect(try tokenizer.decode([0, 1, 2], skipSpecial: false) == "aé")
        #expect(try tokenizer.decode([1, 0], skipSpecial: false) == "\u{FFFD}a")
    }

    @Test func vocabularyTellsComposedFromDecomposed() throws {
        let tokenizer = try tokenizer([
            "model": ["type": "BPE", "vocab": ["\u{E9}": 0, "e": 1, "\u{301}": 2], "merges": []]
        ])
        #expect(try tokenizer.ids("\u{E9}") == [0])
        #expect(try tokenizer.ids("e\u{301}") == [1, 2])
    }

    @Test func sizesAndLookUps() throws {
        let tokenizer = try Tokenizer.load(directory: Fixture.llama2)
        #expect(tokenizer.vocabularySize == 4003)
        #expect(tokenizer.idLimit == 4003)
        #expect(tokenizer.bosID == 1)
        #expect(tokenizer.eosID == 2)
        #expect(tokenizer.padID == 4000)
        #expect(tokenizer.id(of: "</s>") == 2)
        #expect(tokenizer.id(of: "no such token") == nil)
        #expect(tokenizer.token(-1) == nil)
        #expect(tokenizer.token(.max) == nil)
        #expect(tokenizer.text(of: 4001) == "[INST]")
        #expect(
            tokenizer.contentHash
                == (try SHA256.hex(Files.read(Files.join(Fixture.llama2, "tokenizer.json")))))
    }

    @Test func decodingLeavesOutWhatIsNoToken() throws {
        let tokenizer = try Tokenizer.load(directory: Fixture.llama2)
        let ids = try tokenizer.ids("hello")
        #expect(try tokenizer.decode(ids + [-7, 99_999, .max], skipSpecial: true) == "hello")
    }

    /// The word cache, its limits and several threads change nothing.
    @Test func threadsShareATokenizer() throws {
        let tokenizer = try Tokenizer.load(directory: Fixture.llama3)
        let texts = (0..<400).map { "word\($0 % 37) and \(String(repeating: "x", count: $0)) end" }
        let want = try texts.map { try tokenizer.ids($0) }
        let pool = ThreadPool(threads: 4)
        let results = Results(count: texts.count)
        pool.parallelFor(texts.count) { results.set($0, (try? tokenizer.ids(texts[$0])) ?? []) }
        #expect(results.values == want)
    }

    /// The cut at U+2581 is only a short cut: one long word gives the same tokens.
    @Test func cuttingAtMarksChangesNothing() throws {
        let path = Files.join(Fixture.llama2, "tokenizer.json")
        let file = try JSON.parse(try Files.read(path), name: path)
        var model = try #require(file["model"]?.object)
        var vocab = try #require(model["vocab"]?.object)
        // A token with the mark inside switches the cut off.
        vocab["x\u{2581}y"] = 4003
        model["vocab"] = .object(vocab)
        var other = try #require(file.object)
        other["model"] = .object(model)
        let (cut, whole) = (try tokenizer(file), try tokenizer(.object(other)))
        for text in [
            "a  b   c", "The quick brown fox, \u{2581}\u{2581} and \u{1F600}  then", " \n lead",
            "naïve  café 你好 \u{2581}x",
        ] {
            #expect(try cut.encode(text) == (try whole.encode(text)), "\(text)")
        }
    }

    @Test func aVeryLongWordIsTokenised() throws {
        let tokenizer = try tokenizer(["model": smallModel()])
        let ids = try tokenizer.ids(String(repeating: "abc", count: 100_000))
        #expect(ids == Array(repeating: 4, count: 100_000))
    }
}

/// Answers of several threads.
private final class Results: @unchecked Sendable {
    private let lock = ThreadLock()
    private(set) var values: [[Int32]]
    init(count: Int) { values = Array(repeating: [], count: count) }
    func set(_ index: Int, _ value: [Int32]) { lock.with { values[index] = value } }
}
