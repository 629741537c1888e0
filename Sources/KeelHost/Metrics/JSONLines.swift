import KeelCore

/// A file of JSON objects, one a line, each with a `step` that never falls: metrics, samples.
package final class JSONLines {
    package let path: String
    /// The lines that were already there and stay.
    package let kept: [JSONObject]
    private let file: OutputFile

    /// Opens the file for appending.
    ///
    /// - Parameters:
    ///   - keepUpTo: on resume, the checkpoint's step: the file is cut back to the lines up to it, and a
    ///     line that a crash tore is dropped. Nil starts an empty file.
    /// - Throws: `KeelError` (cannotCreate, io).
    package init(_ path: String, keepUpTo step: Int? = nil) throws {
        self.path = path
        guard let step, Files.exists(path) else {
            kept = []
            file = try OutputFile(path: path, mode: .create)
            return
        }
        let (lines, length) = JSONLines.prefix(try Files.read(path), upTo: step)
        kept = lines
        file = try OutputFile(path: path, mode: .append)
        try file.truncate(to: length)
    }

    /// Appends one object and hands it to the system at once.
    package func append(_ object: JSONObject) throws {
        try file.write(JSON.object(object).text() + "\n")
        try file.flush()
    }

    /// Waits until the disk has all lines; call before a checkpoint is declared complete.
    package func sync() throws { try file.sync() }

    package func close() throws { try file.close() }

    /// The leading whole lines whose step is at most `step`, and their length in bytes.
    private static func prefix(
        _ bytes: [UInt8], upTo step: Int
    ) -> (lines: [JSONObject], length: Int) {
        var lines: [JSONObject] = []
        var start = 0
        while let end = bytes[start...].firstIndex(of: 0x0A) {
            guard let object = (try? JSON.parse(Array(bytes[start..<end]), name: ""))?.object,
                let own = object["step"]?.int, own <= step
            else { break }
            lines.append(object)
            start = end + 1
        }
        return (lines, start)
    }
}
