import Glibc
import KeelCore

/// The commands that answer one JSON value per stdin line, in order: `math`, `forward`, `tokenize`, ...
package enum LineAnswers {
    /// Answers every line of stdin on stdout until the input ends; blank lines are passed over.
    ///
    /// A line that cannot be answered gives `{"error": TEXT}`, and the next ones are still answered.
    /// What was answered is written whenever no further whole line is waiting.
    ///
    /// - Returns: `failed` when a line could not be answered.
    /// - Throws: `KeelError` (io) when stdin or stdout fails.
    package static func run(_ answer: (JSON) throws -> JSON) throws -> ExitCode {
        try run(input: 0, output: 1, answer)
    }

    /// The same over other descriptors.
    static func run(input: Int32, output: Int32, _ answer: (JSON) throws -> JSON) throws -> ExitCode
    {
        var code = ExitCode.ok
        var pending: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 1 << 16)
        var number = 0
        var answers = ""

        func take(_ line: [UInt8]) {
            number += 1
            guard line.contains(where: { $0 > 0x20 }) else { return }
            do {
                answers += try answer(JSON.parse(line, name: "line \(number)")).text() + "\n"
            } catch {
                code = .failed
                answers += JSON.object(["error": .string(text(error))]).text() + "\n"
            }
        }

        while true {
            let count = read(input, &block, block.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw Files.error("cannot read", "standard input") }
            if count == 0 { break }
            var start = 0
            while let end = block[start..<count].firstIndex(of: 0x0A) {
                pending += block[start..<end]
                take(pending)
                pending.removeAll(keepingCapacity: true)
                start = end + 1
            }
            pending += block[start..<count]
            try send(&answers, to: output)
        }
        if !pending.isEmpty { take(pending) }
        try send(&answers, to: output)
        return code
    }

    /// One line that says what an error says.
    private static func text(_ error: any Error) -> String {
        let errors = (error as? KeelErrors)?.errors ?? (error as? KeelError).map { [$0] }
        guard let errors else { return "\(error)" }
        return errors.map { error in
            error.what + (error.at.map { " (\($0))" } ?? "")
        }.joined(separator: "; ")
    }

    private static func send(_ text: inout String, to output: Int32) throws {
        var rest = Array(text.utf8)[...]
        text = ""
        while !rest.isEmpty {
            let count = write(output, Array(rest), rest.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw Files.error("cannot write", "standard output") }
            rest = rest.dropFirst(count)
        }
    }
}
