import KeelCore

/// The commands that answer one JSON value per stdin line, in order: `math`, `forward`, ...
package enum LineAnswers {
    /// Answers every line of stdin on stdout until the input ends; blank lines are passed over.
    ///
    /// A line that cannot be answered gives `{"error": TEXT}`, and the next ones are still answered.
    ///
    /// - Returns: `failed` when a line could not be answered.
    /// - Throws: `KeelError` (io) when stdin or stdout fails.
    package static func run(
        over stream: LineStream = LineStream(), _ answer: (JSON) throws -> JSON
    ) throws -> ExitCode {
        let code = try run(next: stream.next, write: stream.write, answer)
        try stream.flush()
        return code
    }

    /// The same over lines from anywhere.
    ///
    /// - Parameters:
    ///   - next: the bytes of the next line without its end; nil after the last.
    ///   - write: takes one answer without a line end.
    /// - Returns: `failed` when a line could not be answered.
    package static func run(
        next: () throws -> [UInt8]?, write: (String) throws -> Void,
        _ answer: (JSON) throws -> JSON
    ) throws -> ExitCode {
        var code = ExitCode.ok
        var number = 0
        while let line = try next() {
            number += 1
            guard line.contains(where: { $0 > 0x20 }) else { continue }
            let result: JSON
            do {
                result = try answer(JSON.parse(line: line, place: "line \(number)"))
            } catch {
                code = .failed
                result = ["error": .string(text(error))]
            }
            try write(result.text())
        }
        return code
    }

    /// What an error says, on one line.
    private static func text(_ error: any Error) -> String {
        let errors = (error as? KeelErrors)?.errors ?? (error as? KeelError).map { [$0] }
        guard let errors else { return "\(error)" }
        return errors.map { error in
            error.what + (error.at.map { " (\($0))" } ?? "")
        }.joined(separator: "; ")
    }
}
