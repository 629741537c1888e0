import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// Damaged and lying data and configs, given to the built `keel`.
///
/// Each ends with exactly one error that names the place and a change that works, the documented
/// exit code, nothing on stdout, and a folder as it was before.
@Suite struct HostileInputTests {
    let work: HostileFolder

    init() throws { work = try HostileFolder() }

    // MARK: - Data

    /// A data file that cannot be used; nil = there is none.
    struct BadData: CustomTestStringConvertible, Sendable {
        var name: String
        var text: [UInt8]?
        var what: String
        /// After the path of the file.
        var place = ""
        var fix: String

        var testDescription: String { name }

        init(
            _ name: String, _ text: String?, _ what: String, _ place: String = "", fix: String
        ) {
            self.name = name
            self.text = text.map { Array($0.utf8) }
            self.what = what
            self.place = place
            self.fix = fix
        }
    }

    static let good = "{\"prompt\": \"Tell me\", \"chosen\": \" rain\", \"rejected\": \" no\"}\n"
    private static let oneObject = "write one JSON object per line"
    private static let oneValue = "write one JSON value per line, in UTF-8"
    private static let giveFile = "give a file with one JSON object per line"
    private static let addChosen =
        "add \"chosen\", or name the field that holds it: \"columns\": {\"chosen\": \"...\"} in \"data\""

    static let badData: [BadData] = [
        BadData("empty", "", "the data file is empty", fix: giveFile),
        BadData("blank", "\n  \n\t\r\n", "the data file has only blank lines", fix: giveFile),
        BadData(
            "no chosen", good + "{\"prompt\": \"a\", \"rejected\": \"b\"}\n",
            "the row has no \"chosen\"; found \"prompt\", \"rejected\"", ":2", fix: addChosen),
        BadData(
            "null", good + "{\"prompt\": \"a\", \"rejected\": \"b\", \"chosen\": null}\n",
            "the row has no \"chosen\"; found \"prompt\", \"rejected\", \"chosen\"", ":2",
            fix: "give \"chosen\" a text, or remove the row"),
        BadData(
            "misspelt", good + "\n{\"prompt\": \"a\", \"rejected\": \"b\", \"choosen\": \"c\"}\n",
            "the row has no \"chosen\"; found \"prompt\", \"rejected\", \"choosen\"", ":3",
            fix:
                "rename \"choosen\" to \"chosen\", or set \"columns\": {\"chosen\": \"choosen\"} in \"data\""
        ),
        BadData(
            "a number", good + "{\"prompt\": \"a\", \"rejected\": \"b\", \"chosen\": 3}\n",
            "\"chosen\" must be a string, found an integer", ":2",
            fix: "write the text of \"chosen\" as a string"),
        BadData(
            "a list", good + "[1, 2]\n", "a row must be an object, found a list", ":2",
            fix: oneObject),
        BadData(
            "no JSON", good + "chosen,rejected\n", "not valid JSON: unexpected character", ":2:1",
            fix: oneValue),
        BadData(
            "cut off", good + "{\"prompt\": \"a\", \"chos",
            "a string that is never closed", ":2:17", fix: oneValue),
        BadData(
            "nested", String(repeating: "[", count: 100_000), "nested deeper than 512 levels",
            ":1:513", fix: oneValue),
        {
            var bad = BadData(
                "no UTF-8", good, "not valid JSON: invalid utf-8 string", ":2:13", fix: oneValue)
            bad.text? += Array("{\"prompt\": \"".utf8) + [0xFF, 0xFE] + Array("\"}\n".utf8)
            return bad
        }(),
    ]

    @Test(arguments: badData)
    func dataThatCannotBeUsed(data: BadData) throws {
        if let text = data.text { try work.write("train.jsonl", text) }
        let error = HostileFolder.error(
            "data", data.what, at: "$DIR/train.jsonl\(data.place)", fix: data.fix)
        for arguments in [
            ["train", "dpo.json"], ["check", "dpo.json"],
            ["reward", "try", "length", "--data", work.folder.path("train.jsonl")],
        ] {
            try work.expectRefusal(arguments, .badData, error)
        }
    }

    @Test func dataThatIsNotThere() throws {
        try Files.remove(work.folder.path("train.jsonl"))
        for command in ["train", "check"] {
            try work.expectRefusal(
                [command, "dpo.json"], .noInput,
                """
                error[config]: data.train: no such file: train.jsonl
                  at:  dpo.json:3:13, key data.train
                  fix: check the path; it is relative to the config file
                """)
        }
        try work.expectRefusal(
            ["reward", "try", "length", "--data", "train.jsonl"], .noInput,
            """
            error[data]: the data file does not exist
              at:  train.jsonl
              fix: check the path
            """)
        try work.expectRefusal(
            ["generate", "--model", "base", "--prompts", "train.jsonl"], .noInput,
            """
            error[io]: cannot read the file: No such file or directory
              at:  train.jsonl
              fix: check the path
            """)
    }

    @Test func aFolderForData() throws {
        try Files.remove(work.folder.path("train.jsonl"))
        try Files.makeDirectory(work.folder.path("train.jsonl"))
        try work.expectRefusal(
            ["train", "dpo.json"], .noInput,
            """
            error[config]: data.train: no such file (it is a folder): train.jsonl
              at:  dpo.json:3:13, key data.train
              fix: check the path; it is relative to the config file
            """)
    }

    @Test(arguments: [
        (
            "", "data", "no prompts in the file", "", "give a file with one JSON value per line"
        ),
        (
            "{\"prompt\": 3}\n", "data", "no prompt in this row", ":1",
            "a row is a string, {\"prompt\": TEXT or messages}, {\"messages\": [...]} or {\"prompt_ids\": [...]}"
        ),
        ("\"a\"\n\nnope\n", "json", "not valid JSON: null expected", ":3:2", oneValue),
    ])
    func promptsThatCannotBeUsed(
        text: String, area: String, what: String, place: String, fix: String
    ) throws {
        try work.folder.write("prompts.jsonl", text)
        try work.expectRefusal(
            ["generate", "--model", "base", "--prompts", "prompts.jsonl"], .badData,
            HostileFolder.error(area, what, at: "prompts.jsonl\(place)", fix: fix))
    }

    /// Line commands answer a bad line in its place and go on.
    @Test func badLines() throws {
        let outcome = try keel(
            ["forward", "--model", "base"], in: work.folder.path,
            input: "[1,99999]\n[1,-2]\n[1,\"x\"]\n[\n[1,2]\n")
        #expect(outcome.code == ExitCode.failed.rawValue)
        #expect(outcome.errors == "")
        let lines = try outcome.output.split(separator: "\n").map { try JSON.parse(String($0)) }
        try #require(lines.count == 5)
        #expect(
            lines[0]["error"] == "token id 99999 is not in the model's vocabulary of 3800 (base)")
        #expect(lines[1]["error"] == "token id -2 is not in the model's vocabulary of 3800 (base)")
        #expect(lines[2]["error"] == "item 1 of the line is no token id: \"x\"")
        #expect(lines[3]["error"] == "not valid JSON: unexpected end of data (line 4:2)")
        #expect(lines[4]["loss"]?.double?.isFinite == true)
    }

    @Test func errorsForMachines() throws {
        try work.folder.write("train.jsonl", "[]\n")
        let outcome = try keel(
            ["train", "dpo.json", "--error-format", "json"], in: work.folder.path)
        #expect(outcome.code == 65)
        #expect(
            try JSON.parse(outcome.errors) == [
                "area": "data", "what": "a row must be an object, found a list",
                "at": "$DIR/train.jsonl:1", "fix": "write one JSON object per line", "code": 65,
            ])
    }

    // MARK: - Config

    @Test(arguments: [
        (
            "\"max_steps\": 4", "\"max_stps\": 4", "unknown key \"max_stps\"",
            "8:28, key train.max_stps", "did you mean \"max_steps\"?"
        ),
        (
            "\"seed\": 11", "\"seed\": 11, \"seed\": 12", "the key \"seed\" is given twice",
            "8:95", "remove one of the two"
        ),
        (
            "\"seed\": 11", "\"seed\": \"x\"", "train.seed is \"x\"; it takes an integer 0 or more",
            "8:83, key train.seed",
            "give it an integer 0 or more"
        ),
    ])
    func configsThatCannotBeUsed(
        old: String, new: String, what: String, place: String, fix: String
    ) throws {
        let text = try work.folder.read("dpo.json")
        try #require(text.contains(old))
        try work.folder.write("dpo.json", text.replacingOccurrences(of: old, with: new))
        for command in ["train", "check"] {
            try work.expectRefusal(
                [command, "dpo.json"], .config,
                HostileFolder.error("config", what, at: "dpo.json:\(place)", fix: fix))
        }
    }
}
