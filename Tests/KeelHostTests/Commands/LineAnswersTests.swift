import Glibc
import KeelCore
import KeelTestSupport
import Testing

@testable import KeelHost

@Suite struct LineAnswersTests {
    @Test(arguments: [
        ("", ""), ("\n \n", ""), ("1\n2", "[1]\n[2]\n"), ("1\r\n2\n", "[1]\n[2]\n"),
        ("1\nx\n3\n", "[1]\n!\n[3]\n"), ("{\n4\n", "!\n[4]\n"), ("null\n7\n", "!\n[7]\n"),
    ])
    func everyLineIsAnsweredInOrder(input: String, output: String) throws {
        let folder = try TemporaryFolder()
        let source = open(try folder.write("in", input), O_RDONLY)
        let sink = open(folder.path("out"), O_CREAT | O_WRONLY, 0o600)
        defer {
            close(source)
            close(sink)
        }
        let code = try LineAnswers.run(over: LineStream(input: source, output: sink)) { value in
            if value.isNull { throw KeelError("data", "null", at: "here", code: .badData) }
            return [value]
        }
        let answers = try folder.read("out").split(separator: "\n").map {
            $0.hasPrefix("{\"error\":") ? "!" : String($0)
        }
        #expect(answers.map { $0 + "\n" }.joined() == output)
        #expect(code == (output.contains("!") ? .failed : .ok))
    }

    @Test func longLinesPass() throws {
        let folder = try TemporaryFolder()
        let text = String(repeating: "a", count: 1_000_000)
        let source = open(try folder.write("in", "\"\(text)\"\n1\n"), O_RDONLY)
        let sink = open(folder.path("out"), O_CREAT | O_WRONLY, 0o600)
        defer {
            close(source)
            close(sink)
        }
        _ = try LineAnswers.run(over: LineStream(input: source, output: sink)) { $0 }
        #expect(try folder.read("out") == "\"\(text)\"\n1\n")
    }
}
