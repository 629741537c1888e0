import KeelCore
import KeelText
import Testing

@testable import KeelData

struct TokenizedDatasetTests {
    private func tokens(
        _ lines: [String], _ wanted: RowKind, _ limits: LengthLimits = LengthLimits(),
        model: String = Fixture.llama2
    ) throws -> TokenizedDataset {
        let folder = try Folder()
        let data = try Dataset.load(
            path: try folder.write("rows.jsonl", lines.joined(separator: "\n")), wanted: wanted)
        return try TokenizedDataset.tokenize(
            data, tokenizer: try Tokenizer.load(directory: model), limits: limits,
            cacheDirectory: nil)
    }

    @Test func aPairSharesItsPromptAndEndsInEOS() throws {
        let tokenizer = try Tokenizer.load(directory: Fixture.llama2)
        let row = try #require(
            try tokens(
                [#"{"prompt": "How are you?", "chosen": " Fine, thanks.", "rejected": " Bad."}"#],
                .preference
            ).rows.first)
        let eos = try #require(tokenizer.eosID)
        #expect(row.prompt == (try tokenizer.ids("How are you?")))
        #expect(
            row.prompt + row.completions[0] == (try tokenizer.ids("How are you? Fine, thanks.")) + [
                eos
            ])
        #expect(row.prompt + row.completions[1] == (try tokenizer.ids("How are you? Bad.")) + [eos])
    }

    @Test func anEOSThatIsThereIsNotDoubled() throws {
        let rows = try tokens(
            [
                #"{"prompt": "Q", "completion": " yes</s>"}"#,
                #"{"prompt": "Q", "completion": " yes"}"#,
            ], .promptCompletion
        ).rows
        #expect(rows[0].completions == rows[1].completions)
    }

    @Test func withoutAppendingTheAnswerStaysOpen() throws {
        let open = try tokens(
            [#"{"prompt": "Q", "completion": " yes"}"#], .promptCompletion,
            LengthLimits(appendEOS: false)
        ).rows
        let closed = try tokens([#"{"prompt": "Q", "completion": " yes"}"#], .promptCompletion).rows
        #expect(open[0].completions[0] == closed[0].completions[0].dropLast())
    }

    @Test func aTokenOverTheBoundaryBelongsToTheAnswer() throws {
        // "hel" + "lo" merge differently alone and together: the prompt keeps only what both share.
        let tokenizer = try Tokenizer.load(directory: Fixture.llama2)
        let row = try #require(
            try tokens([#"{"prompt": "hel", "completion": "lo there"}"#], .promptCompletion).rows
                .first)
        let whole = try tokenizer.ids("hello there</s>")
        #expect(row.prompt + row.completions[0] == whole)
        #expect(row.prompt.count < (try tokenizer.ids("hel")).count + 1)
    }

    @Test func plainTextTrainsAllButItsFirstToken() throws {
        let tokenizer = try Tokenizer.load(directory: Fixture.llama2)
        let row = try #require(try tokens([#"{"text": "One two"}"#], .text).rows.first)
        #expect(row.prompt == [1])
        #expect(row.prompt + row.completions[0] == (try tokenizer.ids("One two</s>")))
    }

    @Test func promptsHaveNoCompletions() throws {
        let row = try #require(try tokens([#"{"prompt": "Say hi"}"#], .prompt).rows.first)
        #expect(row.prompt == (try Tokenizer.load(directory: Fixture.llama2).ids("Say hi")))
        #expect(row.completions.isEmpty)
    }

    @Test func eachSideIsCutByItself() throws {
        let line = #"{"prompt": "a b c", "chosen": " d e f g h i j", "rejected": " d"}"#
        let full = try #require(try tokens([line], .preference).rows.first)
        let limit = full.prompt.count + 3
        let cut = try tokens([line], .preference, LengthLimits(maxLength: limit))
        #expect(cut.rows[0].completions[0] == Array(full.completions[0].prefix(3)))
        #expect(cut.rows[0].completions[1] == full.completions[1])
        #expect(cut.counts.truncated == 1)
        #expect(cut.notes == ["1 of 1 rows cut to the length limits; a cut answer has no EOS"])
        let short = try tokens([line], .preference, LengthLimits(maxCompletionLength: 2))
        #expect(short.rows[0].completions.map(\.count) == [2, 2])
    }

    @Test func rowsWithoutRoomAreDroppedAndCounted() throws {
        let lines = [
            #"{"prompt": "a b c d e f", "completion": " x"}"#,
            #"{"prompt": "a", "completion": " x"}"#,
        ]
        let data = try tokens(lines, .promptCompletion, LengthLimits(maxLength: 5))
        #expect(data.rows.map(\.index) == [1])
        #expect(data.counts.droppedLongPrompt == 1)
        #expect(
            data.notes == [
                "1 of 2 rows dropped: the prompt alone has max_length (5) tokens or more"
            ])
    }

    @Test func aLongPromptKeepsBOSAndItsEnd() throws {
        let full = try tokens([#"{"prompt": "a b c d e f"}"#], .prompt).rows[0].prompt
        let cut = try tokens(
            [#"{"prompt": "a b c d e f"}"#], .prompt, LengthLimits(maxPromptLength: 3)
        ).rows[0].prompt
        #expect(cut == [full[0]] + full.suffix(2))
    }

    @Test func aSecondBOSIsRefused() throws {
        let error = #expect(throws: KeelError.self) {
            try tokens([#"{"prompt": "<s>a", "completion": " x"}"#], .promptCompletion)
        }
        #expect(
            error?.what == "the text begins with \"<s>\", and the tokenizer puts another in front")
        #expect(error?.code == .badData)
    }

    @Test func anEmptyPromptWithoutBOSGivesItsPlaceToTheFirstToken() throws {
        let row = try tokens(
            [#"{"prompt": "", "completion": "x y"}"#], .promptCompletion, model: Fixture.smollm
        ).rows[0]
        #expect(row.prompt.count == 1)
        let pairs = try tokens(
            [#"{"prompt": "", "chosen": "x", "rejected": "y"}"#], .preference, model: Fixture.smollm
        )
        #expect(pairs.rows.isEmpty)
        #expect(pairs.counts.droppedEmptyPrompt == 1)
    }

    /// The counts that TRL 1.16 reports for the same file and model (bench/parity/README.md).
    @Test(.enabled(if: Files.exists(Files.join(Fixture.shared, "data/hh/train.jsonl"))))
    func dropsAndCutsTheRowsThatTRLDoes() throws {
        let text = try Files.readText(Files.join(Fixture.shared, "data/hh/train.jsonl"))
        let lines = text.split(separator: "\n").prefix(512).map(String.init)
        let data = try tokens(
            lines, .preference, LengthLimits(maxLength: 512),
            model: Files.join(Fixture.shared, "data/models/stories260k"))
        #expect(data.counts.dropped == 127)
        #expect(data.rows.count == 385)
        #expect(data.counts.truncated == 105)
    }
}

struct TokenCacheTests {
    @Test func readsBackWhatWasWrittenAndNothingElse() throws {
        let folder = try Folder()
        let lines = [
            #"{"prompt": "a b c", "chosen": " d", "rejected": " e"}"#,
            #"{"prompt": "f", "chosen": " g h", "rejected": " i"}"#,
        ]
        let data = try Dataset.load(
            path: try folder.write("rows.jsonl", lines.joined(separator: "\n")), wanted: .preference
        )
        let tokenizer = try Tokenizer.load(directory: Fixture.llama2)
        let cache = Files.join(folder.path, "cache")
        let limits = LengthLimits(maxLength: 100)
        func run(_ limits: LengthLimits) throws -> TokenizedDataset {
            try TokenizedDataset.tokenize(
                data, tokenizer: tokenizer, limits: limits, cacheDirectory: cache)
        }
        let first = try run(limits)
        let store = TokenCache(directory: Files.join(cache, "tokens"), key: first.contentHash)
        #expect(store.read(.preference, rowLimit: 2)?.rows == first.rows)
        #expect(try run(limits) == first)
        #expect(try run(LengthLimits(maxLength: 6)).contentHash != first.contentHash)

        // Any byte changed, cut or added: not read, and made anew.
        let path = Files.join(cache, "tokens/\(first.contentHash).tokens")
        let bytes = try Files.read(path)
        for at in stride(from: 0, to: bytes.count, by: 7) {
            var broken = bytes
            broken[at] ^= 0x40
            try AtomicWrite.file(path, broken)
            #expect(store.read(.preference, rowLimit: 2) == nil, "byte \(at)")
        }
        for count in [0, 3, 4, 40, bytes.count - 4] {
            try AtomicWrite.file(path, Array(bytes.prefix(count)))
            #expect(store.read(.preference, rowLimit: 2) == nil, "\(count) bytes")
        }
        #expect(try run(limits) == first)
        #expect(try Files.read(path) == bytes)
    }

    @Test func aCacheThatCannotBeWrittenIsANote() throws {
        let folder = try Folder()
        let data = try Dataset.load(
            path: try folder.write("rows.jsonl", #"{"text": "a"}"#), wanted: .text)
        let blocked = try folder.write("file", "")
        let result = try TokenizedDataset.tokenize(
            data, tokenizer: try Tokenizer.load(directory: Fixture.llama2), limits: LengthLimits(),
            cacheDirectory: blocked)
        #expect(result.rows.count == 1)
        #expect(result.notes.count == 1)
    }
}
