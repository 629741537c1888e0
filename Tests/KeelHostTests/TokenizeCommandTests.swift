import KeelCore
import Testing

@testable import KeelHost

struct TokenizeCommandTests {
    private static let model = Files.join(
        Files.parent(Files.parent(#filePath)), "Fixtures/tokenizers/llama2_style")

    private func run(
        _ lines: [String],
        _ command: (() throws -> [UInt8]?, (String) throws -> Void) throws -> ExitCode
    ) throws -> (code: ExitCode, answers: [String]) {
        var rest = lines[...]
        var answers: [String] = []
        let code = try command({ rest.popFirst().map { Array($0.utf8) } }, { answers.append($0) })
        return (code, answers)
    }

    @Test func textsAndPairs() throws {
        let result = try run([#""a""#, #"{"text": "a", "pair": "b"}"#, ""]) {
            try TokenizeCommand.encode(model: Self.model, next: $0, write: $1)
        }
        #expect(result.code == .ok)
        let first = try JSON.parse(result.answers[0])
        #expect(first["ids"]?[0] == 1)
        #expect(first["offsets"] == [[0, 0], [0, 1]])
        #expect(first["type_ids"] == [0, 0])
        #expect(try JSON.parse(result.answers[1])["type_ids"] == [0, 0, 1, 1])
        let plain = try run([#""a""#]) {
            try TokenizeCommand.encode(model: Self.model, addSpecial: false, next: $0, write: $1)
        }
        #expect(try JSON.parse(plain.answers[0])["ids"]?.array?.count == 1)
    }

    @Test func aBadLineIsAnsweredAndTheNextOnesToo() throws {
        let result = try run(["{", "3", #"{"pair": "x"}"#, #""a""#]) {
            try TokenizeCommand.encode(model: Self.model, next: $0, write: $1)
        }
        #expect(result.code == .failed)
        #expect(result.answers.count == 4)
        #expect(try result.answers.prefix(3).allSatisfy { try JSON.parse($0)["error"] != nil })
        #expect(try JSON.parse(result.answers[3])["ids"] != nil)
    }

    @Test(arguments: [
        "[-1]", "[99999]", "[1.5]", "[4294967296]", "[\"a\"]", "{}", "[9223372036854775807]",
    ])
    func idsThatAreNoTokensAreErrors(_ line: String) throws {
        let result = try run([line, "[1, 2]"]) {
            try TokenizeCommand.decode(model: Self.model, next: $0, write: $1)
        }
        #expect(result.code == .failed)
        #expect(try JSON.parse(result.answers[0])["error"] != nil)
        #expect(try JSON.parse(result.answers[1]) == "<s></s>")
    }

    @Test func specialTokensCanBeSkipped() throws {
        let result = try run(["[1, 2]"]) {
            try TokenizeCommand.decode(model: Self.model, skipSpecial: true, next: $0, write: $1)
        }
        #expect(result.answers == ["\"\""])
    }
}
