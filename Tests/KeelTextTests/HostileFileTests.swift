import KeelCore
import Testing

@testable import KeelText

/// Broken and hostile files end in an error that names the place.
struct HostileFileTests {
    private func failure(_ json: JSON) -> KeelError? {
        do {
            _ = try tokenizer(json)
            return nil
        } catch { return error as? KeelError }
    }

    @Test func anUnknownModelTypeIsRefusedByName() {
        let error = failure(["model": ["type": "WordPeace", "vocab": [:]]])
        #expect(
            error?.description == """
                error[tokenizer]: the model type "WordPeace" is not known; did you mean "WordPiece"?
                  at:  tokenizer.json, model
                  fix: use a tokenizer whose model is one of: BPE, Unigram, WordPiece
                """)
        #expect(error?.code == .badData)
    }

    static let broken: [(JSON, String)] = [
        ([1, 2], "tokenizer.json must hold an object, found a list"),
        ([:], "a model must be an object, found null"),
        (["model": "BPE"], "a model must be an object, found a string"),
        (["model": ["type": 3]], "a string is needed here, found an integer"),
        (
            ["model": ["type": "BPE", "vocab": ["a"], "merges": []]],
            "the vocabulary must be an object of tokens and ids, found a list"
        ),
        (
            ["model": smallModel(["vocab": ["a": -1]])],
            "the id of token \"a\" must be an integer from 0 to 16777215, found -1"
        ),
        (
            ["model": smallModel(["vocab": ["a": 4_000_000_000]])],
            "the id of token \"a\" must be an integer from 0 to 16777215, found 4000000000"
        ),
        (
            ["model": smallModel(["vocab": ["a": "0"]])],
            "the id of token \"a\" must be an integer from 0 to 16777215, found \"0\""
        ),
        (
            ["model": smallModel(["vocab": ["a": 1.5]])],
            "the id of token \"a\" must be an integer from 0 to 16777215, found 1.5"
        ),
        (
            ["model": smallModel(["merges": ["a z"]])],
            "merge 0 names \"z\", which is not in the vocabulary"
        ),
        (
            ["model": smallModel(["merges": ["b c"]])],
            "merge 0 names \"bc\", which is not in the vocabulary"
        ),
        (
            ["model": smallModel(["merges": ["a b c"]])],
            "merge 0 must be \"a b\" or [\"a\", \"b\"], found \"a b c\""
        ),
        (
            ["model": smallModel(["merges": [["a"]]])],
            "merge 0 must be \"a b\" or [\"a\", \"b\"], found [\"a\"]"
        ),
        (["model": smallModel(["merges": nil])], "the merges must be a list, found null"),
        (
            ["model": smallModel(["unk_token": "?"])],
            "the unknown token \"?\" is not in the vocabulary"
        ),
        (
            ["model": smallModel(["dropout": 0.1])],
            "merge dropout 0.1 would tokenise the same text differently each time"
        ),
        (
            ["model": smallModel(["byte_fallback": "yes"])],
            "true or false is needed here, found a string"
        ),
        (
            ["model": smallModel(), "added_tokens": [["content": "x", "id": -3]]],
            "-3 is out of range (0 to 16777215)"
        ),
        (
            ["model": smallModel(), "added_tokens": [["content": "x", "id": 99_999_999_999]]],
            "99999999999 is out of range (0 to 16777215)"
        ),
        (
            ["model": smallModel(), "added_tokens": [["id": 9]]],
            "added_tokens[0].content is missing; a string is needed"
        ),
        (["model": smallModel(), "added_tokens": 3], "a list is needed here, found an integer"),
        (
            ["model": smallModel(), "normalizer": ["type": "Prepent", "prepend": "_"]],
            "the normalizer type \"Prepent\" is not known; did you mean \"Prepend\"?"
        ),
        (
            [
                "model": smallModel(),
                "pre_tokenizer": [
                    "type": "Split", "pattern": ["Regex": "(a"], "behavior": "Isolated",
                ],
            ],
            "the regular expression does not compile: missing closing parenthesis"
        ),
        (
            [
                "model": smallModel(),
                "pre_tokenizer": [
                    "type": "Split", "pattern": ["Regex": "[a&&b]"], "behavior": "Isolated",
                ],
            ],
            "the regular expression uses && inside a set, which is not supported"
        ),
        (
            [
                "model": smallModel(),
                "pre_tokenizer": [
                    "type": "Split", "pattern": ["Regex": "[a[b]]"], "behavior": "Isolated",
                ],
            ],
            "the regular expression uses a set inside a set, which is not supported"
        ),
        (
            [
                "model": smallModel(),
                "pre_tokenizer": ["type": "Split", "pattern": 3, "behavior": "Isolated"],
            ],
            "a pattern must be {\"String\": ...} or {\"Regex\": ...}, found an integer"
        ),
        (
            [
                "model": smallModel(),
                "pre_tokenizer": ["type": "Split", "pattern": ["String": "a"], "behavior": "Gone"],
            ],
            "the split behaviour \"Gone\" is not known"
        ),
        (
            [
                "model": smallModel(),
                "post_processor": [
                    "type": "TemplateProcessing",
                    "single": [["SpecialToken": ["id": "<s>", "type_id": 0]]], "pair": [],
                ],
            ],
            "the special token \"<s>\" is not among the template's special_tokens"
        ),
        (
            [
                "model": smallModel(),
                "decoder": ["type": "Strip", "content": "ab", "start": 1, "stop": 0],
            ], "the content to strip must be one character"
        ),
        (
            [
                "model": smallModel(),
                "decoder": ["type": "Strip", "content": "a", "start": -1, "stop": 0],
            ], "-1 is out of range (0 to 2147483647)"
        ),
    ]

    @Test(arguments: broken.indices)
    func brokenPartsAreNamed(_ index: Int) {
        let (json, what) = HostileFileTests.broken[index]
        let error = failure(json)
        #expect(error?.what == what)
        #expect(error?.code == .badData)
        #expect(error?.at?.hasPrefix("tokenizer.json") == true)
        #expect(error?.fix != nil)
    }

    /// Every beginning of a real file is refused, and none traps.
    @Test func cutFilesAreRefused() throws {
        let bytes = try Files.read(Files.join(Fixture.llama3, "tokenizer.json"))
        for count in stride(from: 0, to: bytes.count - 2, by: 4_999) {
            let error = #expect(throws: KeelError.self) {
                try Array(bytes.prefix(count)).withUnsafeBytes {
                    try Tokenizer(json: $0, name: "tokenizer.json")
                }
            }
            #expect(error?.code == .badData, "\(count) bytes")
        }
    }

    /// Random bytes changed in a real file give a tokenizer or an error, never a trap.
    @Test func changedFilesNeverTrap() throws {
        let bytes = Array(
            JSON.object([
                "added_tokens": [["id": 5, "content": "<x>", "special": true, "lstrip": true]],
                "normalizer": [
                    "type": "Sequence",
                    "normalizers": [
                        ["type": "NFC"],
                        ["type": "Replace", "pattern": ["String": " "], "content": "_"],
                    ],
                ],
                "pre_tokenizer": [
                    "type": "Sequence",
                    "pretokenizers": [
                        ["type": "Digits", "individual_digits": true],
                        ["type": "ByteLevel", "add_prefix_space": true],
                    ],
                ],
                "model": smallModel(["unk_token": "a", "fuse_unk": true, "byte_fallback": true]),
                "post_processor": [
                    "type": "TemplateProcessing",
                    "single": [["Sequence": ["id": "A", "type_id": 0]]], "pair": [],
                    "special_tokens": [:],
                ],
                "decoder": [
                    "type": "Sequence",
                    "decoders": [
                        ["type": "ByteFallback"],
                        ["type": "Strip", "content": " ", "start": 1, "stop": 1],
                    ],
                ],
            ]).text().utf8)
        let random = RandomStream(seed: 7, place: "hostile")
        for trial in 0..<4_000 {
            var changed = bytes
            for k in 0..<(1 + trial % 3) {
                let draw = random.bits(UInt64(trial * 4 + k))
                changed[Int(draw % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: draw >> 40)
            }
            let tokenizer = try? changed.withUnsafeBytes { try Tokenizer(json: $0, name: "x") }
            _ = try? tokenizer?.encode("abc <x> 12 é \u{1F600}", pair: "cab")
            _ = try? tokenizer?.decode([0, 1, 5, -1, 77], skipSpecial: true)
        }
    }

    @Test func aFolderWithoutATokenizerIsSaid() {
        let error = #expect(throws: KeelError.self) {
            try Tokenizer.load(directory: "/nonexistent")
        }
        #expect(error?.code == .noInput)
        #expect(error?.what == "there is no tokenizer.json in the model's folder")
    }

    @Test func aPatternThatExplodesGivesUp() throws {
        let tokenizer = try tokenizer([
            "model": smallModel(),
            "pre_tokenizer": [
                "type": "Split", "pattern": ["Regex": "(a+)+$(*COMMIT)x|(a|aa)+$b"],
                "behavior": "Isolated",
            ],
        ])
        let text = String(repeating: "a", count: 5_000) + "b"
        let error = #expect(throws: KeelError.self) { try tokenizer.ids(text) }
        #expect(error?.what.hasPrefix("a regular expression gave up") == true)
    }
}
