import KeelCore
import Testing

@testable import KeelData

struct DatasetTests {
    @Test func readsEveryKind() throws {
        let folder = try Folder()
        let cases: [(String, RowKind, RowKind, RowTexts)] = [
            (#"{"text": "a b"}"#, .text, .text, RowTexts(prompt: nil, completions: ["a b"])),
            (
                #"{"prompt": "p", "answer": 4}"#, .prompt, .prompt,
                RowTexts(prompt: "p", completions: [])
            ),
            (
                #"{"prompt": "p", "completion": "c"}"#, .promptCompletion, .promptCompletion,
                RowTexts(prompt: "p", completions: ["c"])
            ),
            (
                #"{"prompt": "p", "completion": "c"}"#, .text, .promptCompletion,
                RowTexts(prompt: "p", completions: ["c"])
            ),
            (
                #"{"prompt": "p", "chosen": "x", "rejected": "y"}"#, .preference, .preference,
                RowTexts(prompt: "p", completions: ["x", "y"])
            ),
            (
                #"{"prompt": "p", "chosen": "x", "rejected": "y"}"#, .text, .promptCompletion,
                RowTexts(prompt: "p", completions: ["x"])
            ),
            (
                #"{"prompt": "p", "chosen": "x", "rejected": "y"}"#, .prompt, .prompt,
                RowTexts(prompt: "p", completions: [])
            ),
            (
                #"{"chosen": "Hi: good", "rejected": "Hi: bad"}"#, .preference, .preference,
                RowTexts(prompt: "Hi:", completions: [" good", " bad"])
            ),
        ]
        for (line, wanted, kind, texts) in cases {
            let data = try Dataset.load(
                path: try folder.write("rows.jsonl", line + "\n"), wanted: wanted)
            #expect(data.kind == kind, "\(line)")
            #expect(try data.texts(0) == texts, "\(line)")
        }
    }

    @Test func conversionsAreSaid() throws {
        let folder = try Folder()
        let path = try folder.write(
            "pairs.jsonl", #"{"prompt": "p", "chosen": "x", "rejected": "y"}"#)
        #expect(
            try Dataset.load(path: path, wanted: .text).notes == [
                "pairs are used as prompts with the chosen answer; the rejected one is left out"
            ])
        #expect(try Dataset.load(path: path, wanted: .preference).notes.isEmpty)
    }

    @Test func renamesColumnsAndKeepsTheRowAsItIs() throws {
        let folder = try Folder()
        let path = try folder.write(
            "rows.jsonl",
            "\u{FEFF}\n"
                + #"{"question": "p", "better": "x", "worse": "y", "meta": {"answer": [1, 2]}}"#
                + "\r\n\n")
        let data = try Dataset.load(
            path: path, wanted: .preference,
            columns: ["prompt": "question", "chosen": "better", "rejected": "worse"])
        #expect(data.count == 1)
        #expect(try data.texts(0) == RowTexts(prompt: "p", completions: ["x", "y"]))
        #expect(data.row(0).value(at: "/meta/answer/1") == 2)
        #expect(data.place(0) == "\(path):2")
    }

    @Test func badRowsAreReportedTogether() throws {
        let folder = try Folder()
        let path = try folder.write(
            "rows.jsonl",
            """
            {"prompt": "p", "chosen": "x", "rejected": "y"}
            {"prompt": "p", "chosn": "x", "rejected": "y"}
            {"prompt": "p", "chosen": 3, "rejected": "y"}

            [1, 2]
            {"prompt": "p", "chosen": "x", "rejected": [{"role": "user", "content": "a"}]}
            {"prompt": "p", "chosen": "x",
            """)
        let all = errors(of: path, wanted: .preference)
        #expect(all.map(\.code) == Array(repeating: .badData, count: 5))
        #expect(
            all.map(\.description).prefix(2).joined(separator: "\n") == """
                error[data]: the row has no "chosen"; found "prompt", "chosn", "rejected"
                  at:  \(path):2
                  fix: rename "chosn" to "chosen", or set "columns": {"chosen": "chosn"} in "data"
                error[data]: "chosen" must be a string, found an integer
                  at:  \(path):3
                  fix: write the text of "chosen" as a string
                """)
        #expect(all[2].what == "a row must be an object, found a list")
        #expect(all[3].what == "a completion holds nothing that the assistant says")
        #expect(all[4].at?.hasPrefix("\(path):7:") == true)
    }

    @Test func manyBadRowsAreCounted() throws {
        let folder = try Folder()
        let lines = [#"{"text": "fine"}"#] + Array(repeating: #"{"txt": "x"}"#, count: 30)
        let all = errors(
            of: try folder.write("rows.jsonl", lines.joined(separator: "\n")), wanted: .text)
        #expect(all.count == Dataset.errorLimit)
        #expect(all.last?.what == "the row has no \"text\"; found \"txt\" (and 10 more bad rows)")
    }

    @Test func filesThatCannotServe() throws {
        let folder = try Folder()
        let missing = errors(of: Files.join(folder.path, "none.jsonl"), wanted: .text)
        #expect(missing.map(\.code) == [.noInput])
        #expect(
            errors(of: try folder.write("empty.jsonl", ""), wanted: .text).map(\.what) == [
                "the data file is empty"
            ])
        #expect(
            errors(of: try folder.write("blank.jsonl", "\n \n"), wanted: .text).map(\.what) == [
                "the data file has only blank lines"
            ])
        let prompts = try folder.write(
            "prompts.jsonl", #"{"prompt": "p"}"# + "\n" + #"{"prompt": "q"}"#)
        #expect(
            errors(of: prompts, wanted: .preference).map(\.what) == [
                "the row has no \"chosen\"; found \"prompt\""
            ])
        let binary = Files.join(folder.path, "binary.jsonl")
        try AtomicWrite.file(binary, [0x7B, 0x22, 0xFF, 0x22, 0x3A, 0x31, 0x7D])
        #expect(errors(of: binary, wanted: .text).map(\.code) == [.badData])
    }

    @Test(arguments: [
        ("Q: a\nA: yes", "Q: a\nA: no", "Q: a\nA:"), ("same", "same", "sam"), ("ab", "abc", "a"),
        ("x", "y", ""),
        ("", "b", ""), ("e\u{301}a", "e\u{301}b", "e\u{301}"),
    ])
    func implicitPromptIsWhatBothBeginWith(_ chosen: String, _ rejected: String, _ prompt: String) {
        let texts = RowTexts.implicitPrompt(chosen: chosen, rejected: rejected)
        #expect(texts.prompt == prompt)
        #expect(prompt + texts.completions[0] == chosen)
        #expect(prompt + texts.completions[1] == rejected)
    }
}
