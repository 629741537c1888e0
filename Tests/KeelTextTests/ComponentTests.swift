import KeelCore
import Testing

@testable import KeelText

struct NormalizerTests {
    @Test func prependSharesTheFirstCharactersOrigin() throws {
        let prepend = try Prepend(part(["prepend": "_"]))
        let result = try normalized(prepend, "éa")
        #expect(result.text == "_éa")
        #expect(result.origins == [[0, 2], [0, 2], [0, 2], [2, 3]])
        #expect(try normalized(prepend, "").text == "")
    }

    @Test func replaceSharesTheLastReplacedCharactersOrigin() throws {
        let result = try normalized(
            try Replace(part(["pattern": ["String": "ab"], "content": "xyz"])), "cab")
        #expect(result.text == "cxyz")
        #expect(result.origins == [[0, 1], [2, 3], [2, 3], [2, 3]])
        #expect(
            try normalized(try Replace(part(["pattern": ["Regex": "a+"], "content": ""])), "baac")
                .text == "bc")
    }

    @Test(
        arguments: [
            (UnicodeForm.Form.nfc, "e\u{301}", [0xE9]), (.nfc, "\u{E9}", [0xE9]),
            (.nfd, "\u{E9}", [0x65, 0x301]),
            (.nfc, "q\u{307}\u{323}", [0x71, 0x323, 0x307]),
            (.nfc, "\u{1E0B}\u{323}", [0x1E0D, 0x307]),
            (.nfc, "\u{1112}\u{1161}\u{11AB}", [0xD55C]),
            (.nfd, "\u{D55C}", [0x1112, 0x1161, 0x11AB]),
            (.nfkc, "\u{FB01}", [0x66, 0x69]),
            (.nfkd, "\u{FB01}\u{E9}", [0x66, 0x69, 0x65, 0x301]), (.nfc, "\u{FB01}", [0xFB01]),
            (.nfc, "\u{958}", [0x915, 0x93C]), (.nfkc, "\u{FDFA}", nil),
            (.nfc, "plain", [0x70, 0x6C, 0x61, 0x69, 0x6E]),
        ] as [(UnicodeForm.Form, String, [UInt32]?)])
    func unicodeForms(_ form: UnicodeForm.Form, _ text: String, _ want: [UInt32]?) throws {
        let result = try normalized(UnicodeForm(form), text)
        if let want {
            #expect(result.text.unicodeScalars.map(\.value) == want)
        } else {
            #expect(result.text.unicodeScalars.count == 18)
        }
        #expect(result.origins.count == result.text.utf8.count)
    }
}

struct PreTokenizerTests {
    @Test(arguments: [
        ("Removed", false, ["one", "two"]), ("Isolated", false, ["one", "-", "-", "two"]),
        ("MergedWithPrevious", false, ["one-", "-", "two"]),
        ("MergedWithNext", false, ["one", "-", "-two"]),
        ("Contiguous", false, ["one", "--", "two"]), ("Removed", true, ["-", "-"]),
    ])
    func splitTreatsItsMatches(_ behavior: String, _ invert: Bool, _ want: [String]) throws {
        let split = try Split(
            part([
                "pattern": ["String": "-"], "behavior": .string(behavior), "invert": .bool(invert),
            ]))
        #expect(try words(split, "one--two") == want)
    }

    @Test func byteLevelKeepsTheSpaceBeforeAWord() throws {
        let plain = try ByteLevel(part(["add_prefix_space": false]))
        #expect(try words(plain, "Hi  you're 42\n") == ["Hi", "Ġ", "Ġyou", "'re", "Ġ42", "Ċ"])
        #expect(try words(plain, "é") == ["Ã©"])
        #expect(try words(try ByteLevel(part([:])), "Hi") == ["ĠHi"])
        #expect(
            try words(try ByteLevel(part(["use_regex": false, "add_prefix_space": false])), "a b")
                == ["aĠb"])
    }

    @Test func digitsStandAloneOrTogether() throws {
        #expect(
            try words(try Digits(part(["individual_digits": true])), "a12b") == [
                "a", "1", "2", "b",
            ])
        #expect(try words(try Digits(part([:])), "a12b") == ["a", "12", "b"])
    }

    @Test(arguments: [
        ("always", true, ["▁a", "▁b"]), ("never", true, ["a", "▁b"]),
        ("first", true, ["▁a", "▁b"]), ("always", false, ["▁a▁b"]),
    ])
    func metaspaceMarksWords(_ scheme: String, _ split: Bool, _ want: [String]) throws {
        let metaspace = try Metaspace(
            part(["replacement": "▁", "prepend_scheme": .string(scheme), "split": .bool(split)]))
        #expect(try words(metaspace, "a b") == want)
    }

    @Test func metaspaceFirstMeansTheStartOfTheText() throws {
        let tokenizer = try tokenizer([
            "added_tokens": [["id": 3, "content": "<x>", "special": true]],
            "pre_tokenizer": ["type": "Metaspace", "replacement": "_", "prepend_scheme": "first"],
            "model": ["type": "BPE", "vocab": ["_": 0, "a": 1], "merges": []],
        ])
        #expect(try tokenizer.ids("a<x>a") == [0, 1, 3, 1])
    }

    /// `\s` is White_Space, which U+180E is not; PCRE2 alone would take it.
    @Test func shorthandClassesAreUnicodes() throws {
        func matches(_ pattern: String, _ text: String) throws -> Int {
            var found: [Range<Int>] = []
            let bytes = Array(text.utf8)
            try PCRE(pattern, at: "test").matches(in: bytes, 0..<bytes.count, into: &found)
            return found.count
        }
        #expect(try matches(#"\s"#, "\u{180E}\u{85}\u{A0}\u{2003}\t") == 4)
        #expect(try matches(#"[\s]"#, "\u{180E}\u{85}") == 1)
        #expect(try matches(#"\S"#, "\u{180E}\u{85}x") == 2)
        #expect(try matches(#"\d"#, "1٢x²") == 2)
        #expect(try matches(#"[[:alpha:]]"#, "aé1") == 2)
        #expect(try matches(#"[]x]"#, "]x") == 2)
        #expect(try matches(#"(?i:'s)"#, "'S'ſ") == 2)
        #expect(try matches(#"x*"#, "éxx") == 1)
    }
}

struct AddedTokenTests {
    private func ids(_ flags: JSONObject, _ text: String) throws -> [Int32] {
        var token: JSONObject = ["id": 9, "content": "ab"]
        for (key, value) in flags { token[key] = value }
        return try tokenizer([
            "added_tokens": [.object(token)],
            "model": ["type": "BPE", "vocab": ["a": 0, "b": 1, " ": 2, "x": 3], "merges": []],
        ]).ids(text)
    }

    @Test func flags() throws {
        #expect(try ids([:], "x ab x") == [3, 2, 9, 2, 3])
        #expect(try ids(["lstrip": true], "x  ab x") == [3, 9, 2, 3])
        #expect(try ids(["rstrip": true], "x ab  x") == [3, 2, 9, 3])
        #expect(try ids(["single_word": true], "xab ab") == [3, 0, 1, 2, 9])
        #expect(try ids(["lstrip": true, "rstrip": true], "ab ab") == [9, 9])
    }

    @Test func theLongestAtTheLeftmostPlaceWins() throws {
        let tokens: JSON = [
            ["id": 10, "content": "ab", "special": true],
            ["id": 11, "content": "abc", "special": true],
            ["id": 12, "content": "bcd", "special": true],
            ["id": 13, "content": "", "special": true],
        ]
        let tokenizer = try tokenizer([
            "added_tokens": tokens, "model": smallModel(["vocab": ["d": 0], "merges": []]),
        ])
        #expect(try tokenizer.ids("abcdabd") == [11, 0, 10, 0])
    }
}

struct PostProcessorTests {
    @Test func templatesPlaceSpecialTokensAndTypes() throws {
        let tokenizer = try tokenizer([
            "model": smallModel(),
            "post_processor": [
                "type": "TemplateProcessing",
                "single": [
                    ["SpecialToken": ["id": "<s>", "type_id": 0]],
                    ["Sequence": ["id": "A", "type_id": 0]],
                ],
                "pair": [
                    ["Sequence": ["id": "B", "type_id": 2]],
                    ["SpecialToken": ["id": "<s>", "type_id": 1]],
                    ["Sequence": ["id": "A", "type_id": 0]],
                ],
                "special_tokens": ["<s>": ["id": "<s>", "ids": [7, 8], "tokens": ["<", "s>"]]],
            ],
        ])
        #expect(
            try tokenizer.encode("ab")
                == Encoding(ids: [7, 8, 3], offsets: [0..<0, 0..<0, 0..<2], typeIDs: [0, 0, 0]))
        #expect(try tokenizer.encode("ab", addSpecial: false).ids == [3])
        #expect(
            try tokenizer.encode("a", pair: "b")
                == Encoding(
                    ids: [1, 7, 8, 0], offsets: [0..<1, 0..<0, 0..<0, 0..<1], typeIDs: [2, 1, 1, 0])
        )
        #expect(try tokenizer.encode("a", pair: "b", addSpecial: false).typeIDs == [2, 0])
    }

    @Test func trimmedOffsetsLeaveSpacesOut() throws {
        let tokenizer = try tokenizer([
            "model": ["type": "BPE", "vocab": ["a": 0, "Ġ": 1, "Ġa": 2], "merges": [["Ġ", "a"]]],
            "pre_tokenizer": ["type": "ByteLevel", "add_prefix_space": false, "use_regex": false],
            "post_processor": [
                "type": "ByteLevel", "trim_offsets": true, "add_prefix_space": false,
            ],
        ])
        #expect(try tokenizer.encode(" a a").offsets == [1..<2, 3..<4])
    }
}

struct DecoderTests {
    @Test func byteLevelIsLossyAboutBrokenText() throws {
        let decoder = try ByteLevelDecoder(part([:]))
        #expect(try decoded(decoder, ["Ã", "©", "Ġa"]) == ["é a"])
        #expect(try decoded(decoder, ["Ã", "a"]) == ["\u{FFFD}a"])
        #expect(try decoded(decoder, ["你好", "Ċ"]) == ["你好\n"])
    }

    @Test func byteFallbackJoinsRuns() throws {
        let decoder = try ByteFallbackDecoder(part([:]))
        #expect(try decoded(decoder, ["<0xC3>", "<0xA9>", "x"]) == ["é", "x"])
        #expect(try decoded(decoder, ["<0xC3>", "x", "<0xZZ>"]) == ["\u{FFFD}", "x", "<0xZZ>"])
        #expect(try decoded(decoder, ["<0xC3>", "<0x41>"]) == ["\u{FFFD}", "\u{FFFD}"])
    }

    @Test func theOthers() throws {
        #expect(try decoded(try FuseDecoder(part([:])), ["a", "b"]) == ["ab"])
        #expect(
            try decoded(
                try StripDecoder(part(["content": " ", "start": 1, "stop": 2])),
                ["  a   ", "b", "", " "]) == [" a ", "b", "", ""])
        #expect(
            try decoded(
                try ReplaceDecoder(part(["pattern": ["String": "▁"], "content": " "])),
                ["▁a▁", "b"]) == [" a ", "b"])
        #expect(try decoded(try MetaspaceDecoder(part([:])), ["▁a▁b", "▁c"]) == ["ab", " c"])
        #expect(
            try decoded(try MetaspaceDecoder(part(["prepend_scheme": "never"])), ["▁a"]) == [" a"])
    }
}
